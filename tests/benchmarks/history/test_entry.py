"""Entries: every number of a result once, with what it is of, and what may stand in one line."""

from __future__ import annotations

from dataclasses import replace

import pytest

from secateur.benchmarks.history.entry import entry_of
from secateur.benchmarks.results_file import Compared
from secateur.core.errors import BenchError
from tests.benchmarks.history.entries import elsewhere, measured
from tests.benchmarks.samples import result


def test_an_entry_has_the_numbers_of_its_result() -> None:
    found = result(targets={"torch:cpu@b8": 8})
    values = {value.measure: value for value in entry_of(found, "half", "ci", "abc1234", "now").values}
    assert list(values) == ["speedup", "dense p50", "pruned p50", "pruned p99", "macs", "size", "top-1"]
    speedup, latency = values["speedup"], found.pruned.latency_ms["torch:cpu@b8"]
    ratio = found.speedup["torch:cpu@b8"]
    assert (speedup.value, speedup.low, speedup.high, speedup.unit) == (ratio.ratio, ratio.low, ratio.high, "x")
    assert speedup.higher_is_better and speedup.where == "torch:cpu, batch 8"
    assert (values["pruned p50"].value, values["pruned p99"].value) == (latency.p50, latency.p99)
    assert (values["macs"].value, values["size"].value, values["macs"].where) == (480, 1100, "")
    assert (values["top-1"].value, values["top-1"].unit, values["top-1"].higher_is_better) == (81.0, "%", True)
    typed = replace(
        found, **{side: replace(getattr(found, side), sizes={"cpu@int8": 7}) for side in ("dense", "pruned")}
    )
    sizes = [value for value in entry_of(typed, "half", "ci", "abc1234", "now").values if "size" in value.measure]
    assert [(value.measure, value.value, value.where) for value in sizes] == [("size of cpu@int8", 7, "")]
    errors = replace(found, metric=Compared("RMSE", 2.0, 2.5, higher_is_better=False, unit=""))
    *_, last = entry_of(errors, "half", "ci", "abc1234", "now").values
    assert (last.measure, last.value, last.higher_is_better) == ("RMSE", 2.5, False)


def test_ratios_are_of_a_kind_of_machine_milliseconds_of_one_and_counts_of_any() -> None:
    here, twin = measured(), replace(measured(), machine="other")
    other = elsewhere(here, "another processor")
    values = {value.measure: value for value in here.values}
    assert here.kind(values["speedup"]) == twin.kind(values["speedup"]) != other.kind(values["speedup"])
    assert here.kind(values["pruned p50"]) != twin.kind(values["pruned p50"])
    assert here.kind(values["macs"]) == twin.kind(values["macs"]) == other.kind(values["macs"]) == ()


@pytest.mark.parametrize("words", [{"name": "a b"}, {"machine": ".."}, {"commit": ""}, {"name": "a/b"}])
def test_words_that_are_no_names_of_files_are_refused(words: dict[str, str]) -> None:
    (what,) = words
    with pytest.raises(BenchError, match=f"the {what} is .*give another with --{what}"):
        replace(measured(), **words)
