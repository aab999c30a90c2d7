"""The GPU suite without a GPU: costs against counting, its prediction, its goals, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from secateur.benchmarks.gpu_problems import problems
from secateur.benchmarks.gpu_suite import goals, main
from secateur.benchmarks.roofline import PEAKS, peak_of
from secateur.core.errors import BenchError
from secateur.kernels.launch import why_not
from secateur.kernels.resource_report import read_report

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
H100 = peak_of("NVIDIA H100 80GB HBM3")
KERNELS = read_report(RESULTS / "kernel_resources.json").kernels
OWN = {one.kernel: one for one in KERNELS if one.architecture == 90}


def test_the_prediction_says_that_it_is_one(tmp_path: Path) -> None:
    out = tmp_path / "prediction.json"
    arguments = [
        "--dry",
        "--device",
        H100.name,
        "--resources",
        str(RESULTS / "kernel_resources.json"),
        "--out",
        str(out),
    ]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    content = json.loads(out.read_text())
    assert (content["schema"], content["mode"]) == ("secateur.gpu_suite/1", "prediction")
    assert "not measured" in content["note"] and len(content["rows"]) == len(problems())
    for row in content["rows"]:
        assert row["launched_floor_us"] >= row["roofline_us"] > 0
        assert "times_us" not in row


def test_the_committed_prediction_is_of_these_kernels() -> None:
    """Otherwise: python -P -m secateur.benchmarks.gpu_suite --dry."""
    content = json.loads((RESULTS / "gpu_suite_prediction.json").read_text())
    assert content["mode"] == "prediction"
    for row in content["rows"]:
        peak = peak_of(row["device"])
        own = {one.kernel: one for one in KERNELS if one.architecture == peak.capability}
        assert row["registers"] == own[row["variant"]].registers
    assert {row["device"] for row in content["rows"]} <= {peak.name for peak in PEAKS}


@pytest.mark.skipif(not why_not(), reason="kernels can be launched here")
def test_without_a_gpu_the_suite_says_so() -> None:
    done = CliRunner().invoke(main, ["--resources", str(RESULTS / "kernel_resources.json")])
    assert isinstance(done.exception, BenchError)
    assert "cannot run here" in str(done.exception) and "use --dry" in str(done.exception)


def row(name: str, ours: float, padded: float, rows: int = 1, roofline: float = 1.0) -> dict[str, Any]:
    times = {"ours": {"p50": ours}, "padded, flash": {"p50": padded}, "padded, cudnn": "PyTorch has no cudnn kernel"}
    return {
        "kernel": "ragged_attention", "dtype": "fp16", "name": name, "rows": rows, "roofline_us": roofline,
        "times_us": times,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "met"),
    [
        ([], [None, None, None]),
        ([row("uniform 6x64", 1.0, 1.0), row("mixed 8-64", 1.0, 1.5)], [True, True, None]),
        ([row("uniform 6x64", 1.1, 1.0), row("mixed 8-64", 1.0, 1.4)], [False, False, None]),
        ([row("uniform 6x64", 1.0, 2.0, 64, 0.7), row("uniform 6x32", 1.0, 2.0, 64, 0.6)], [True, None, False]),
        ([row("uniform 6x64", 1.0, 2.0, 64, 0.7)], [True, None, True]),
    ],
)
def test_goals(rows: list[dict[str, Any]], met: list[bool | None]) -> None:
    assert list(goals(rows).values()) == met
