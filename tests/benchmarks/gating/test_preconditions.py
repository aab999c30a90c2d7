"""What must hold before a time counts: precision, provider, no throttling; each with its sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from secateur.benchmarks.gate import judge
from secateur.benchmarks.gating.ran import Ran
from secateur.benchmarks.limits import Limits
from secateur.benchmarks.results_file import BenchResult
from secateur.export.runner.sensors.conditions import Conditions
from tests.benchmarks.samples import result

FAST = Limits(min_speedup=1.3)
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


def ran(goal: str, dense: Ran, pruned: Ran) -> BenchResult:
    found = result(1.6, targets={goal: 1})
    return replace(
        found, dense=replace(found.dense, ran={goal: dense}), pruned=replace(found.pruned, ran={goal: pruned})
    )


def test_what_is_as_asked_is_one_check_of_each_kind() -> None:
    good = Ran(CPU, {"fp16": 19, "fp32": 3}, kept=2, otherwise=("fc",))
    checks = judge(
        ran("onnxruntime:cpu@fp16", good, replace(good, products={"fp16": 20, "fp32": 2})), None, FAST
    ).checks
    assert [(check.name, check.outcome, check.value) for check in checks[1:]] == [
        ("precision", "pass", 2),
        ("provider", "pass", 2),
    ]
    assert checks[1].sentence == (
        "2 models ran in the precision that was asked for, 95% of their products at least; the rules of the export "
        "keep 4 products in another one"
    )


@pytest.mark.parametrize(("narrow", "wide", "outcome"), [(1, 49, "fail"), (8, 1, "fail"), (9, 1, "pass")])
def test_too_few_products_in_the_precision_that_was_asked_for_fail(narrow: int, wide: int, outcome: str) -> None:
    """One of fifty in fp16 is no engine in fp16; nine of ten are."""
    good = Ran(products={"fp16": narrow + wide})
    bad = Ran(products={"fp16": narrow, "fp32": wide}, otherwise=tuple(f"blocks.{index}" for index in range(wide)))
    verdict = judge(ran("tensorrt@fp16", good, bad), None, FAST)
    assert verdict.outcome == outcome
    if wide > 9:
        assert verdict.sentence == (
            "fail (1 of 2 checks): tensorrt@fp16: fp16 was asked for, but only 2% of the products of the pruned side "
            "run in it (1 in fp16 and 49 in fp32), at least 90% must: in another precision are blocks.0, blocks.1, "
            "blocks.2 and 46 more"
        )
    excused = replace(bad, kept=wide, otherwise=())
    assert judge(ran("tensorrt@fp16", good, excused), None, FAST).outcome == "pass"


def test_a_node_that_matters_on_another_provider_fails() -> None:
    good = Ran(CUDA, {"fp32": 5}, nodes={CUDA: 9})
    bad = replace(good, nodes={CUDA: 7, CPU: 2}, elsewhere=(f"Conv stem on {CPU}",))
    verdict = judge(ran("onnxruntime:cuda", good, bad), None, FAST)
    assert verdict.outcome == "fail"
    assert (
        f"onnxruntime:cuda: {CUDA} was asked for, but 1 of 9 nodes of the pruned side run elsewhere: Conv stem on {CPU}"
        in verdict.sentence
    )
    assert judge(ran("onnxruntime:cuda", good, replace(bad, elsewhere=())), None, FAST).outcome == "pass"


@pytest.mark.parametrize("side", ["dense", "pruned"])
def test_an_fp32_engine_where_fp16_was_asked_fails(side: str) -> None:
    good, bad = Ran(products={"fp16": 5}), Ran(products={"fp32": 5})
    found = ran("tensorrt@fp16", *((bad, good) if side == "dense" else (good, bad)))
    verdict = judge(found, None, FAST)
    assert verdict.outcome == "fail"
    assert verdict.sentence == (
        f"fail (1 of 2 checks): tensorrt@fp16: fp16 was asked for, but the {side} side runs its products otherwise "
        "(5 in fp32)"
    )


def test_an_fp16_engine_where_fp32_was_asked_fails_too() -> None:
    bad = Ran(products={"fp16": 5})
    assert judge(ran("tensorrt", bad, bad), None, FAST).outcome == "fail"


def test_another_provider_fails_whether_it_was_measured_or_not() -> None:
    found = ran("onnxruntime:cuda", Ran(CUDA, {"fp32": 5}), Ran(CPU, {"fp32": 5}))
    said = "onnxruntime:cuda: CUDAExecutionProvider was asked for, but ONNX Runtime fell back to CPUExecutionProvider"
    assert said in judge(found, None, FAST).sentence
    unmeasured = replace(result(1.6), skipped={"onnxruntime:cuda@b8": "it fell back"})
    unmeasured = replace(unmeasured, pruned=replace(unmeasured.pruned, ran={"onnxruntime:cuda": Ran(CPU)}))
    assert said in judge(unmeasured, None, FAST).sentence
    assert judge(unmeasured, None, replace(FAST, targets=("onnxruntime:cpu",))).outcome == "pass"


def test_an_engine_of_which_nobody_can_tell_is_noted() -> None:
    verdict = judge(ran("tensorrt@fp16", Ran(), Ran()), None, FAST)
    assert (verdict.outcome, verdict.notes) == (
        "pass",
        ("tensorrt@fp16: it is not known in which precision this engine runs",),
    )


# --- throttling ---


def under(throttled: tuple[str, ...], faults: tuple[str, ...] = ()) -> BenchResult:
    return replace(result(1.6), conditions={"onnxruntime:cpu": Conditions({}, (), (), throttled, faults, {})})


def test_a_device_that_was_held_back_is_inconclusive() -> None:
    verdict = judge(under(("cpu-throttle in 30% of the readings",)), None, FAST)
    assert verdict.outcome == "inconclusive"
    assert "onnxruntime:cpu batch 1: the device was held back while it was measured (cpu-throttle in 30%" in (
        verdict.sentence
    )
    assert verdict.sentence.endswith("let the device cool down or lower its clocks for good, and measure again")


def test_nothing_held_back_passes_only_where_sensors_tell_of_it() -> None:
    checks = judge(under(()), None, FAST).checks
    assert [(check.name, check.outcome) for check in checks] == [("speedup", "pass"), ("throttling", "pass")]
    blind = judge(under((), ("no sensor here tells of throttling",)), None, FAST)
    assert [check.name for check in blind.checks] == ["speedup"]
