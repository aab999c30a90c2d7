"""The same work stands in the same row on both sides, whatever a runtime has fused."""

from __future__ import annotations

import pytest

from secateur.benchmarks.layers.match import match_layers
from secateur.benchmarks.layers.operations import joined_times
from tests.benchmarks.layers.planted import operation, times


def test_rows_have_the_work_and_the_times_of_both_sides() -> None:
    dense = times(
        operation("MatMul", 4.0, macs=100, bytes_moved=50), operation("Add", 1.0), operation("Relu", 3.0, layer="act")
    )
    pruned = times(operation("MatMul", 2.0, macs=40, bytes_moved=30), operation("Relu", 3.0, layer="act"))
    fc, act = match_layers(dense, pruned)
    row = fc.row("a reason")
    assert (row.name, row.kind, row.reason) == ("fc", "MatMul", "a reason")
    assert (row.macs_dense, row.macs_pruned, row.bytes_dense, row.bytes_pruned) == (100, 40, 50, 30)
    assert (row.ms_dense, row.ms_pruned, row.ratio) == (5.0, 2.0, 2.5)
    assert row.low is not None and row.high is not None and row.low <= 2.5 <= row.high
    assert row.samples_dense_ms[:2] == (4.95, 5.05)
    assert (row.runs_dense, row.runs_pruned) == (("MatMul", "Add"), ("MatMul",))
    assert (act.name, act.row().ratio) == ("act", 1.0)


def test_what_one_side_fuses_is_in_one_row_on_both() -> None:
    """The dense side runs the activation inside of the product: `act` has no row of its own there."""
    fused = operation("FusedMatMul", 4.0, macs=100, others=("act",))
    dense = times(fused, operation("Softmax", 1.0, layer="end"))
    pruned = times(
        operation("MatMul", 3.0, macs=50), operation("Relu", 2.0, layer="act"), operation("Softmax", 1.0, layer="end")
    )
    fc, end = match_layers(dense, pruned)
    assert (fc.name, fc.row().ms_dense, fc.row().ms_pruned) == ("fc", 4.0, 5.0)
    assert end.name == "end"
    turned, _ = match_layers(pruned, dense)
    assert (turned.name, turned.row().runs_dense) == ("fc", ("MatMul", "Relu"))


def test_a_layer_that_both_sides_have_stays_its_own() -> None:
    """Another one fuses a part of it, on both sides or on one: what is left of it is its own row."""
    dense = times(operation("SkipNorm", 4.0, layer="norm", others=("fc",)), operation("Add", 1.0))
    assert [one.name for one in match_layers(dense, dense)] == ["norm", "fc"]


def test_a_layer_that_is_gone_has_no_ratio() -> None:
    dense = times(operation("MatMul", 4.0, macs=9), operation("Relu", 1.0, layer="act"))
    _, gone = match_layers(dense, times(operation("MatMul", 2.0, macs=9)))
    row = gone.row()
    assert (row.ms_pruned, row.ratio, row.runs_pruned, row.samples_pruned_ms) == (0.0, None, (), ())
    added, _ = match_layers(times(operation("MatMul", 2.0, macs=9)), dense)[::-1]
    assert (added.row().ms_dense, added.row().kind) == (0.0, "Relu")


def test_what_a_clock_cannot_count_has_no_ratio() -> None:
    (row,) = match_layers(times(operation("Shape", 0.0)), times(operation("Shape", 0.0)))
    assert row.speedup is None


def test_the_interval_of_several_processes_is_over_their_ratios() -> None:
    """Processes whose ratios are 1.5 and 2.5 differ more than the samples of each do."""
    parts = [times(operation("MatMul", ms, macs=9)) for ms in (3.0, 5.0)]
    dense, pruned = joined_times(parts), joined_times([times(operation("MatMul", 2.0, macs=9))] * 2)
    (fc,) = match_layers(dense, pruned)
    assert fc.speedup is not None
    assert fc.speedup.ratio == pytest.approx((1.5 * 2.5) ** 0.5, rel=0.01)
    assert fc.speedup.low < 1.5 < 2.5 < fc.speedup.high
    (alone,) = match_layers(parts[0], times(operation("MatMul", 2.0, macs=9)))
    assert alone.speedup is not None and alone.speedup.high < 1.6
