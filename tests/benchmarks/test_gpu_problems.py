"""The costs of problems against counting, and problems that every device can be asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.benchmarks.gpu_problems import Problem, cost_of, problems
from secateur.benchmarks.roofline import PEAKS, Peak, peak_of
from secateur.kernels.heads import HeadLayout
from secateur.kernels.resource_report import read_report

H100 = peak_of("NVIDIA H100 80GB HBM3")
KERNELS = read_report(Path(__file__).parents[2] / "benchmarks" / "results" / "kernel_resources.json").kernels
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
    assert cost.blocks == 64 * 6 * 2  # two blocks share the rows of a head
    assert cost.blocks_per_multiprocessor == OWN["ragged_attention_fp16_d64_short208"].blocks_per_multiprocessor
    assert cost.waves == pytest.approx(768 / (132 * cost.blocks_per_multiprocessor))
    rows = cost_of(Problem("norm", "residual_layernorm", "fp16", 64, 197, None, 384), H100.limits, OWN)
    assert (rows.blocks, rows.bytes_moved) == (64 * 197 // 4, 2 * 384 * (4 * 64 * 197 + 2))


@pytest.mark.parametrize("peak", PEAKS, ids=lambda peak: peak.name)
def test_every_problem_has_a_kernel_on_every_device(peak: Peak) -> None:
    own = {one.kernel: one for one in KERNELS if one.architecture == peak.capability}
    found = problems()
    assert len({(one.name, one.dtype, one.rows) for one in found}) == len(found)
    for problem in found:
        launch = problem.launch(peak.limits)
        assert launch.kernel in own and problem.dtype in launch.kernel
        cost = cost_of(problem, peak.limits, own)
        assert cost.blocks == launch.grid[0] * launch.grid[1] * launch.grid[2]
        assert cost.blocks_per_multiprocessor >= 1 and cost.waves > 0
        assert 0 < cost.flops <= cost.launched_flops and 0 < cost.bytes_moved <= cost.padded_bytes_moved
