"""The GPU suite without a GPU: costs against counting, its prediction, its goals, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from secateur.benchmarks import gpu_checks
from secateur.benchmarks.gpu_checks import Check, run_checks
from secateur.benchmarks.gpu_clock import COLD_BYTES, rotation_length
from secateur.benchmarks.gpu_contenders import contenders
from secateur.benchmarks.gpu_problems import Problem, cost_of, problems
from secateur.benchmarks.gpu_suite import goals, main
from secateur.benchmarks.roofline import PEAKS, peak_of, roofline_us
from secateur.core.errors import BenchError
from secateur.kernels import portable
from secateur.kernels.heads import HeadLayout
from secateur.kernels.launch import why_not
from secateur.kernels.resource_report import read_report
from secateur.kernels.variants import RAGGED_TILES, Tile

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
H100 = peak_of("NVIDIA H100 80GB HBM3")
KERNELS = read_report(RESULTS / "kernel_resources.json").kernels
OWN = {one.kernel: one for one in KERNELS if one.architecture == 90}
WIDTHS = st.lists(st.tuples(st.integers(1, 64), st.integers(1, 64)), min_size=1, max_size=3)


@given(WIDTHS, st.integers(1, 3), st.integers(1, 20))
def test_the_cost_of_attention_is_what_one_counts(widths: list[tuple[int, int]], batch: int, tokens: int) -> None:
    layout = HeadLayout(tuple(a for a, _ in widths), tuple(b for _, b in widths), 1.0)
    cost = cost_of(Problem("drawn", "ragged_attention", "fp16", batch, tokens, layout), H100.limits, OWN)
    counted = padded = 0
    for qk, v in widths:
        for _query in range(tokens):
            counted += 2 * tokens * qk + 2 * tokens * v  # a product and an addition for each key and dimension
            padded += 2 * tokens * (max(layout.qk_dims) + max(layout.v_dims))
    assert cost.flops == batch * counted
    assert cost.padded_flops == batch * padded
    assert cost.bytes_moved == 2 * batch * tokens * (2 * sum(layout.qk_dims) + 2 * sum(layout.v_dims))
    assert cost.padded_bytes_moved == 2 * batch * tokens * len(widths) * 2 * (max(layout.qk_dims) + max(layout.v_dims))
    assert cost.flops <= cost.launched_flops
    steps = -(-tokens // 16)
    filled = sum(-(-qk // 16) + -(-v // 16) for qk, v in widths)
    assert cost.launched_flops == batch * 2 * (16 * steps) ** 2 * 16 * filled


def test_blocks_and_waves() -> None:
    layout = HeadLayout((64,) * 6, (64,) * 6, 0.125)
    cost = cost_of(Problem("DeiT-S", "ragged_attention", "fp16", 64, 197, layout), H100.limits, OWN)
    assert cost.blocks == 64 * 4 * 6
    assert cost.blocks_per_multiprocessor == OWN["ragged_attention_fp16_d64"].blocks_per_multiprocessor
    assert cost.waves == pytest.approx(1536 / (132 * cost.blocks_per_multiprocessor))
    rows = cost_of(Problem("norm", "residual_layernorm", "fp16", 64, 197, None, 384), H100.limits, OWN)
    assert (rows.blocks, rows.bytes_moved) == (64 * 197 // 4, 2 * 384 * (4 * 64 * 197 + 2))


def test_the_roofline_is_the_slower_of_traffic_and_arithmetic() -> None:
    assert roofline_us(H100, "fp16", 3_350_000, 1) == pytest.approx(1.0)
    assert roofline_us(H100, "fp16", 1, 989_000_000) == pytest.approx(1.0)
    assert roofline_us(H100, "fp32", 1, 67_000_000) == pytest.approx(1.0)
    assert roofline_us(peak_of("Tesla T4"), "fp16", 1, 8_100_000) == pytest.approx(1.0)  # our plain kernels there
    with pytest.raises(BenchError, match="peaks of 'Tesla T5' are not known; did you mean 'Tesla T4'"):
        peak_of("Tesla T5")


def test_rotating_buffers_outgrow_the_caches() -> None:
    assert rotation_length(COLD_BYTES // 8) == 8
    assert (rotation_length(1), rotation_length(2 * COLD_BYTES)) == (64, 2)


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


def test_every_contender_computes_the_same_shape() -> None:
    """On the CPU, where the library's choice stands in for its CUDA kernels."""
    layout = HeadLayout((8, 16), (24, 8), 0.3)
    found = {one.name: one for one in contenders(Problem("small", "ragged_attention", "fp32", 2, 5, layout), "cpu")}
    assert list(found) == [
        "ours", "padded, flash", "padded, cudnn", "padded, efficient", "grouped by width", "head by head"
    ]  # fmt: skip
    (qkv,) = found["ours"].make()
    expected = found["ours"].call(qkv)
    for name in ("grouped by width", "head by head"):
        torch.testing.assert_close(found[name].call(qkv), expected)
    assert [tensor.shape for tensor in found["padded, flash"].make()] == [(2, 2, 5, 16), (2, 2, 5, 16), (2, 2, 5, 24)]
    for kernel in ("bias_gelu", "residual_layernorm"):
        ours, eager = contenders(Problem("row", kernel, "fp32", 2, 3, None, 8), "cpu")
        made = ours.make()
        torch.testing.assert_close(ours.call(*made), eager.call(*made))


def test_checks_cover_every_kernel_and_notice_a_wrong_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the portable operators in the place of the kernels, and then with one wrong number."""
    tiles: list[Tile] = []

    def attention(qkv: torch.Tensor, layout: HeadLayout, tile: Tile, **extras: Any) -> torch.Tensor:
        tiles.append(tile)
        return portable.ragged_attention(qkv, layout, **extras)

    monkeypatch.setattr(gpu_checks, "TOKENS", (3,))
    monkeypatch.setattr(gpu_checks, "DTYPES", {"fp32": torch.float32, "fp16": torch.float16})
    monkeypatch.setattr(gpu_checks.on_gpu, "ragged_attention", attention)
    for name in ("window_attention", "residual_layernorm", "bias_gelu"):
        monkeypatch.setattr(gpu_checks.on_gpu, name, getattr(portable, name))
    found = list(run_checks(H100.limits, "cpu"))
    assert set(tiles) == set(RAGGED_TILES)
    assert [check for check in found if not check.passed] == []
    assert {check.kernel.split(",")[0] for check in found} >= {"window_attention", "residual_layernorm", "bias_gelu"}
    monkeypatch.setattr(gpu_checks.on_gpu, "bias_gelu", lambda x, bias: portable.bias_gelu(x, bias) * 1.1)
    assert {check.kernel for check in gpu_checks._rows("fp16", "cpu") if not check.passed} == {"bias_gelu"}
    assert not Check("any", "fp32", "", float("inf")).passed and not Check("any", "fp32", "", float("nan")).passed
