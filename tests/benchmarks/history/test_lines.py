"""Lines: what may be compared is in one, and everything else in lines of its own."""

from __future__ import annotations

from dataclasses import replace

from secateur.benchmarks.history.lines import lines_of
from tests.benchmarks.history.entries import elsewhere, entries, measured


def test_milliseconds_stay_on_their_machine_and_ratios_on_their_kind() -> None:
    one = measured()
    twin, other = replace(one, machine="twin", commit="b"), elsewhere(replace(one, machine="other", commit="c"), "ARM")
    lines = {(line.values[0].measure, line.machines): line for line in lines_of([one, twin, other])}
    assert ("speedup", ("ci", "twin")) in lines and ("speedup", ("other",)) in lines
    assert [machines for measure, machines in lines if measure == "pruned p50"] == [("ci",), ("twin",), ("other",)]
    assert [machines for measure, machines in lines if measure == "macs"] == [("ci", "twin", "other")]
    assert lines["speedup", ("ci", "twin")].title == "half: speedup, onnxruntime:cpu, batch 1 on ci, twin"
    assert lines["macs", ("ci", "twin", "other")].title == "half: macs"


def test_what_two_machines_count_of_one_commit_is_one_value() -> None:
    one = measured()
    (line,) = lines_of([one, replace(one, machine="twin")], ["macs"])
    assert (line.commits, line.values[0].value) == (("a" * 40,), 480)


def test_targets_modes_batches_and_names_are_apart() -> None:
    (day,) = entries([5.0])
    (value,) = day.values
    others = [
        replace(day, values=(replace(value, **change),), commit="b")
        for change in ({"target": "torch:cpu@cold"}, {"batch": 8}, {"unit": "us"})
    ]
    assert [len(line.values) for line in lines_of([day, *others, replace(day, name="quarter"), *entries([6.0])])] == [
        2,
        *[1] * 4,
    ]
