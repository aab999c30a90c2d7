"""What the suite says of a problem, with and without a data sheet, and its goals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from secateur.benchmarks.gpu_problems import problems
from secateur.benchmarks.gpu_rows import described, goals, resources_for
from secateur.benchmarks.roofline import peak_of
from secateur.kernels.resource_report import read_report
from secateur.kernels.variants import DeviceLimits

H100 = peak_of("NVIDIA H100 80GB HBM3")
KERNELS = read_report(Path(__file__).parents[2] / "benchmarks" / "results" / "kernel_resources.json").kernels


@pytest.mark.parametrize("capability", [75, 88, 103, 130])
def test_a_device_without_a_data_sheet_is_described_without_least_times(capability: int) -> None:
    """Also one whose architecture is newer than all that the kernels are built for."""
    limits = DeviceLimits(capability, 7, 64 * 1024)
    own = resources_for(KERNELS, capability)
    for problem in problems((1, 64)):
        row = described(problem, limits, own, None)
        assert row["blocks_per_multiprocessor"] >= 1 and not any("_us" in key for key in row)


def test_a_device_with_one_has_least_times() -> None:
    row = described(problems()[0], H100.limits, resources_for(KERNELS, 90), H100)
    assert row["launched_floor_us"] >= row["roofline_us"] > 0


def row(name: str, ours: float | None, padded: float, rows: int = 1, roofline: float = 1.0) -> dict[str, Any]:
    times = {"padded, flash": {"p50": padded}, "padded, cudnn": {"refused": "PyTorch has no cudnn kernel"}}
    return {
        "kernel": "ragged_attention", "dtype": "fp16", "name": name, "rows": rows, "roofline_us": roofline,
        "checked": True, "times_us": {"ours": {"failure": "lost"} if ours is None else {"p50": ours}, **times},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "met"),
    [
        ([], [None, None, None]),
        ([row("uniform 6x64", 1.0, 1.0), row("mixed 8-64", 1.0, 1.5)], [True, True, None]),
        ([row("uniform 6x64", 1.1, 1.0), row("mixed 8-64", 1.0, 1.4)], [False, False, None]),
        ([row("uniform 6x64", 1.0, 2.0, 64, 0.7), row("uniform 6x32", 1.0, 2.0, 64, 0.6)], [True, None, False]),
        ([row("uniform 6x64", 1.0, 2.0, 64, 0.7)], [True, None, True]),
        ([row("uniform 6x64", None, 2.0, 64), row("mixed 8-64", None, 2.0)], [None, None, None]),
        ([{**row("uniform 6x64", 1.0, 2.0), "checked": False}], [None, None, None]),
    ],
)
def test_goals(rows: list[dict[str, Any]], met: list[bool | None]) -> None:
    assert list(goals(rows).values()) == met
