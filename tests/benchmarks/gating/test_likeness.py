"""Limits on parity and fidelity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from secateur.benchmarks.gate import judge
from secateur.benchmarks.limits import Limits
from secateur.core.errors import BenchError
from tests.benchmarks.samples import result

TYPED = replace(
    result(targets={"onnxruntime:cpu": 1, "onnxruntime:cpu@int8": 1, "torch:cpu": 1}),
    parity={"fp32": 2e-6, "int8": 0.08, "bf16": 0.5},
)


@pytest.mark.parametrize(("limit", "outcomes"), [(0.1, ["pass", "pass"]), (0.01, ["pass", "fail"])])
def test_every_graph_that_is_judged_is_limited(limit: float, outcomes: list[str]) -> None:
    checks = judge(TYPED, None, Limits(max_parity=limit)).checks
    assert [(check.name, check.outcome) for check in checks] == [("parity", word) for word in outcomes]
    assert f"the int8 graph is 0.08 of its scale off PyTorch's, at most {limit:g} is allowed" in checks[1].sentence


def test_a_graph_that_was_not_compared_is_one_sentence() -> None:
    with pytest.raises(BenchError, match="the int8 graph was not compared with PyTorch: do `secateur export`"):
        judge(replace(TYPED, parity={"fp32": 1e-6}), None, Limits(max_parity=0.1))
    with pytest.raises(BenchError, match="no graph that was compared"):
        judge(result(targets={"torch:cpu": 1}), None, Limits(max_parity=0.1))


@pytest.mark.parametrize(("limit", "outcome"), [(0.8, "pass"), (0.9, "inconclusive"), (0.95, "fail")])
def test_fidelity_is_judged_by_the_interval_of_its_mean(limit: float, outcome: str) -> None:
    cosines = np.random.default_rng(0).normal(0.9, 0.05, 40).tolist()
    (check,) = judge(result(), None, Limits(min_fidelity=limit), fidelity=cosines).checks
    assert (check.outcome, check.value) == (outcome, pytest.approx(np.mean(cosines)))
    error = float(np.std(cosines, ddof=1)) / 40**0.5
    assert check.high == pytest.approx(np.mean(cosines) + 2.0227 * error, rel=1e-4)  # Student's, 39 degrees of freedom
    assert "on 40 images" in check.sentence


def test_maps_that_were_not_compared_are_one_sentence() -> None:
    with pytest.raises(BenchError, match="compared on 1 images and 2 are needed"):
        judge(result(), None, Limits(min_fidelity=0.8), fidelity=[0.9])
