"""Limits on MACs, size and energy, and whether 8 bits pay."""

from __future__ import annotations

from dataclasses import replace

import pytest

from secateur.benchmarks.bootstrap import Interval
from secateur.benchmarks.gate import judge
from secateur.benchmarks.limits import ENERGY_UNITS, Amount, Limits, parse_amount
from secateur.benchmarks.results_file import BenchResult, Latency, Narrowed
from secateur.core.errors import BenchError
from secateur.export.runner.sensors.conditions import Conditions
from secateur.export.runner.sensors.energy import Energy
from tests.benchmarks.samples import result


def powered(pruned_mj: float, error: float = 2.0, batch: int = 4) -> BenchResult:
    """A module's rail and one inside it; the dense side takes 100 ± 2 mJ for a batch."""

    def energy(rail: str, board: bool, mj: float, model: str) -> Energy:
        return Energy(rail, board, 1.0, 0.1, 5.0, 0.1, 5.0, 100, mj, error, model)

    sides = (("dense", 100.0), ("pruned", pruned_mj))
    rails = (("VDD_IN", True, 1.0), ("VDD_GPU", False, 1.5))
    energies = tuple(energy(rail, board, share * mj, model) for model, mj in sides for rail, board, share in rails)
    found = result(1.6, targets={"tensorrt": batch})
    return replace(found, conditions={"tensorrt": Conditions({}, (), energies, (), (), {})})


@pytest.mark.parametrize(
    ("limit", "outcome"),
    [("17mJ", "pass"), ("15mJ", "inconclusive"), ("14mJ", "fail"), ("0.7", "pass"), ("0.5", "fail")],
)
def test_energy_is_that_of_an_image_on_the_rail_of_the_module(limit: str, outcome: str) -> None:
    verdict = judge(powered(60.0), None, Limits(max_energy=parse_amount(limit, ENERGY_UNITS)))
    (check,) = (check for check in verdict.checks if check.name == "energy")
    assert (check.value, check.outcome) == (15.0, outcome)
    assert "tensorrt batch 4: 15 ± " in check.sentence and "mJ for an image on VDD_IN" in check.sentence


def test_a_share_of_dense_has_the_uncertainty_of_both_sides() -> None:
    (check, *_) = judge(powered(60.0), None, Limits(max_energy=Amount(0.61, True))).checks
    assert check.low is not None and check.value - check.low == pytest.approx((2**2 + (0.61 * 2) ** 2) ** 0.5 / 4)
    assert check.outcome == "inconclusive"


def test_energy_that_was_not_measured_is_one_sentence() -> None:
    blind = Conditions({}, (), (), (), (), {"rapl": "it needs root"})
    for found in (result(1.6), replace(result(1.6), conditions={"onnxruntime:cpu": blind})):
        with pytest.raises(BenchError, match=r"energy was given, but .*onnxruntime:cpu batch 1.*--device"):
            judge(found, None, Limits(max_energy=Amount(5, False)))


# --- size ---


def sized(pruned: dict[str, int], dense: dict[str, int]) -> BenchResult:
    """1,100 bytes of 2,000 in all, and others by target."""
    found = result(1.6, targets={"onnxruntime:cpu@int8": 1, "onnxruntime:cpu": 1, "torch:cpu": 1})
    return replace(found, pruned=replace(found.pruned, sizes=pruned), dense=replace(found.dense, sizes=dense))


@pytest.mark.parametrize(
    ("limit", "targets", "outcomes"),
    [
        (Amount(1000, False), (), {"onnxruntime:cpu@int8": "pass", "onnxruntime:cpu": "fail", None: "fail"}),
        (Amount(1100, False), (), {"onnxruntime:cpu@int8": "pass", "onnxruntime:cpu": "pass", None: "pass"}),
        (Amount(299, False), ("onnxruntime:cpu@int8",), {"onnxruntime:cpu@int8": "fail"}),
        (Amount(0.5, True), ("onnxruntime:cpu@int8",), {"onnxruntime:cpu@int8": "fail"}),
        (Amount(0.6, True), ("onnxruntime:cpu@int8",), {"onnxruntime:cpu@int8": "pass"}),
        (Amount(0.6, True), ("torch:cpu",), {None: "pass"}),
    ],
)
def test_a_size_is_that_of_what_runs_on_each_target(
    limit: Amount, targets: tuple[str, ...], outcomes: dict[str | None, str]
) -> None:
    found = sized(
        {"onnxruntime:cpu": 1100, "onnxruntime:cpu@int8": 300}, {"onnxruntime:cpu": 2000, "onnxruntime:cpu@int8": 550}
    )
    checks = [one for one in judge(found, None, Limits(max_size=limit, targets=targets)).checks if one.name == "size"]
    assert {one.target: one.outcome for one in checks} == outcomes
    assert all(one.sentence.startswith(f"{one.target}: ") for one in checks if one.target)


def test_a_size_that_is_not_in_the_file_is_one_sentence() -> None:
    old = sized({}, {})
    with pytest.raises(BenchError, match=r"that of onnxruntime:cpu@int8 is not in the file: measure again"):
        judge(old, None, Limits(max_size=Amount(1, True)))
    assert judge(old, None, Limits(max_size=Amount(1, True), targets=("onnxruntime:cpu",))).outcome == "pass"
    half = sized({"onnxruntime:cpu@int8": 300}, {})
    with pytest.raises(BenchError, match="needs the dense side's size"):
        judge(half, None, Limits(max_size=Amount(1, True), targets=("onnxruntime:cpu@int8",)))


# --- 8 bits ---


def narrowed(speedup: float) -> BenchResult:
    """8 bits so many times as fast as fp16, in turns."""
    planted = result(speedup, targets={"onnxruntime:cpu@int8": 1})
    wide, narrow = (side.latency_ms["onnxruntime:cpu@int8"] for side in (planted.dense, planted.pruned))
    one = Narrowed("onnxruntime:cpu", "int8", "fp16", wide, narrow, planted.speedup["onnxruntime:cpu@int8"])
    return replace(result(1.6, targets={"onnxruntime:cpu@int8": 1, "onnxruntime:cpu": 1}), narrowed=(one,))


@pytest.mark.parametrize(("speedup", "outcome"), [(1.2, "pass"), (1.0, "inconclusive"), (0.9, "fail")])
def test_eight_bits_that_are_not_faster_than_wider_ones_fail(speedup: float, outcome: str) -> None:
    verdict = judge(narrowed(speedup), None, Limits(min_speedup=1.3))
    assert verdict.outcome == outcome
    (check,) = (check for check in verdict.checks if check.name == "8 bits")
    assert (check.outcome, check.target) == (outcome, "onnxruntime:cpu@int8")
    assert "int8 is " in check.sentence and "times as fast as fp16, more than 1 is wanted" in check.sentence


def test_eight_bits_count_where_they_are_judged_only() -> None:
    slow = narrowed(0.9)
    assert judge(slow, None, Limits(min_speedup=1.3, targets=("onnxruntime:cpu",))).outcome == "pass"
    assert judge(slow, None, Limits(max_macs=Amount(0.5, True))).outcome == "pass"
    other = Narrowed("torch:cpu", "int8", "fp32", *(Latency.of([1.0, 2.0], 1),) * 2, Interval(1, 1, 1))
    assert judge(replace(slow, narrowed=(other,)), None, Limits(min_speedup=1.3)).outcome == "pass"


# --- MACs and size ---


@pytest.mark.parametrize(
    ("side", "limit", "outcome"),
    [
        ("pruned", Amount(500, False), "inconclusive"),
        ("pruned", Amount(400, False), "fail"),  # a lower bound above the limit
        ("pruned", Amount(0.5, True), "inconclusive"),
        ("dense", Amount(500, False), "pass"),
        ("dense", Amount(0.4, True), "inconclusive"),
    ],
)
def test_macs_that_were_not_all_counted_do_not_pass(side: str, limit: Amount, outcome: str) -> None:
    found = result()
    found = replace(found, **{side: replace(getattr(found, side), unsupported={"aten::cdist": 2})})
    verdict = judge(found, None, Limits(max_macs=limit))
    assert verdict.outcome == outcome
    assert ("not counted are aten::cdist" in verdict.sentence) == (outcome == "inconclusive")
    assert ("--seconds" in verdict.sentence) is False


def test_limits_on_macs_and_size() -> None:
    fine = judge(result(), None, Limits(max_macs=Amount(0.5, True), max_size=Amount(1100, False)))
    assert [check.outcome for check in fine.checks] == ["pass", "pass"]
    assert "48.0% of dense" in fine.checks[0].sentence
    assert judge(result(), None, Limits(max_macs=Amount(0.47, True))).outcome == "fail"
    assert judge(result(), None, Limits(max_size=Amount(1099, False))).outcome == "fail"
    unknown = result()
    unknown = replace(unknown, pruned=replace(unknown.pruned, macs=None))
    with pytest.raises(BenchError, match="a limit on the macs was given, but the candidate's file has none"):
        judge(unknown, None, Limits(max_macs=Amount(0.5, True)))
