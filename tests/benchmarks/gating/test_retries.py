"""Measuring again: only what is inconclusive, with all samples, and without more errors than one look makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from secateur.benchmarks.checks import Place
from secateur.benchmarks.gate import judge
from secateur.benchmarks.gating.retries import judge_with_retries, pooled
from secateur.benchmarks.limits import Limits
from secateur.benchmarks.results_file import BenchResult, Narrowed
from secateur.core.errors import BenchError
from secateur.export.runner.sensors.conditions import Conditions
from tests.benchmarks.samples import result

FAST = Limits(min_speedup=1.3)


class Machine:
    """Measures a planted speedup again and again, each time with other noise, and keeps what it was asked for."""

    def __init__(self, speedup: float, blocks: int = 12, seed: int = 100) -> None:
        self.speedup, self.blocks, self.seed = speedup, blocks, seed
        self.asked: list[tuple[Place, ...]] = []

    def again(self, places: Sequence[Place]) -> BenchResult:
        self.asked.append(tuple(places))
        return result(self.speedup, self.blocks, self.seed + len(self.asked))


def test_what_is_inconclusive_is_measured_again_until_it_is_decided() -> None:
    machine = Machine(1.4, blocks=60)
    verdict = judge_with_retries(result(1.4, 12, seed=3), None, FAST, machine.again, 4)
    assert verdict.outcome == "pass"
    assert verdict.tries == 1 + len(machine.asked) > 1
    assert set(machine.asked) == {(("onnxruntime:cpu", 1),)}
    assert verdict.level == pytest.approx(0.99)
    assert verdict.sentence.startswith(f"pass after {verdict.tries} tries: onnxruntime:cpu batch 1: 1.")


@pytest.mark.parametrize("speedup", [1.0, 1.7])
def test_what_fails_or_passes_is_not(speedup: float) -> None:
    machine = Machine(1.7)
    verdict = judge_with_retries(result(speedup, 60), None, FAST, machine.again, 3)
    assert (verdict.outcome, verdict.tries, machine.asked) == ("fail" if speedup < 1.3 else "pass", 1, [])


def test_a_failure_beside_decides_at_once() -> None:
    machine = Machine(1.3)
    assert judge_with_retries(result(1.3), None, replace(FAST, min_top1=90), machine.again, 3).tries == 1
    assert not machine.asked


def test_an_accuracy_that_is_inconclusive_is_no_reason_to_measure_latency_again() -> None:
    machine = Machine(1.7)
    assert judge_with_retries(result(1.7), None, replace(FAST, max_drop=1.0), machine.again, 3).exit_code == 3
    assert not machine.asked


def test_the_number_of_tries_is_bounded() -> None:
    machine = Machine(1.3)
    verdict = judge_with_retries(result(1.3, 12), None, FAST, machine.again, 2)
    assert (verdict.outcome, verdict.tries, len(machine.asked)) == ("inconclusive", 3, 2)


def test_the_samples_of_all_tries_count() -> None:
    first, more = result(1.5, 12, seed=1), result(1.2, 20, seed=2, targets={"onnxruntime:cpu": 1, "torch:cpu": 1})
    found = pooled(first, more)
    for side in ("dense", "pruned"):
        one, two, both = (getattr(each, side).latency_ms["onnxruntime:cpu"].samples for each in (first, more, found))
        assert both == one + two
    assert list(found.speedup) == ["onnxruntime:cpu"]
    assert 1.2 < found.speedup["onnxruntime:cpu"].ratio < 1.5


def test_each_process_of_all_tries_is_one_repetition() -> None:
    def over(processes: tuple[int, ...], seed: int) -> BenchResult:
        found = result(1.5, 30, seed)
        sides = {}
        for name in ("dense", "pruned"):
            side = getattr(found, name)
            one = replace(side.latency_ms["onnxruntime:cpu"], processes=processes)
            sides[name] = replace(side, latency_ms={"onnxruntime:cpu": one})
        return replace(found, **sides)

    found = pooled(over((20, 20, 20), 1), over((40, 20), 2))
    assert found.dense.latency_ms["onnxruntime:cpu"].processes == (20, 20, 20, 40, 20)
    assert pooled(over((), 1), over((), 2)).dense.latency_ms["onnxruntime:cpu"].processes == ()
    assert pooled(over((), 1), over((30, 30), 2)).dense.latency_ms["onnxruntime:cpu"].processes == (60, 30, 30)


def test_batches_are_matched_whatever_the_keys_and_what_was_held_back_is_kept() -> None:
    def under(*throttled: str) -> Conditions:
        return Conditions({}, (), (), throttled, (), {})

    first = replace(
        result(targets={"torch:cpu@b1": 1, "torch:cpu@b8": 8}), conditions={"torch:cpu@b8": under("at first")}
    )
    more = replace(result(targets={"torch:cpu": 8}), conditions={"torch:cpu": under("later")}, notes=("busy",))
    found = pooled(first, more)
    assert [len(one.samples) for one in found.dense.latency_ms.values()] == [120, 240]
    assert found.conditions["torch:cpu@b8"].throttled == ("at first", "later")
    assert found.notes == ("busy",)


def test_comparisons_of_precisions_are_pooled_too() -> None:
    def narrowed(seed: int) -> BenchResult:
        planted = result(1.1, 12, seed)
        wide, narrow = (side.latency_ms["onnxruntime:cpu"] for side in (planted.dense, planted.pruned))
        one = Narrowed("onnxruntime:cpu", "int8", "fp32", wide, narrow, planted.speedup["onnxruntime:cpu"])
        return replace(planted, narrowed=(one,), notes=("busy", one.said))

    both = pooled(narrowed(1), narrowed(2))
    (found,) = both.narrowed
    assert both.notes == ("busy", found.said)
    assert len(found.wide_ms.samples) == len(found.narrow_ms.samples) == 48


def test_other_models_are_refused() -> None:
    other = replace(result(), pruned=replace(result().pruned, macs=1))
    with pytest.raises(BenchError, match="other models than before"):
        pooled(result(), other)


@pytest.mark.parametrize(("most", "level"), [(1, 0.975), (2, 1 - 0.05 / 3)])
def test_the_looks_share_the_errors_of_one(most: int, level: float) -> None:
    verdict = judge_with_retries(result(1.3, 12), None, FAST, Machine(1.3).again, most)
    assert verdict.level == pytest.approx(level)
    (once,) = judge(result(1.3, 12), None, FAST).checks
    (shared,) = judge(result(1.3, 12), None, FAST, level=level).checks
    assert once.low is not None and shared.low is not None and shared.low < once.low
