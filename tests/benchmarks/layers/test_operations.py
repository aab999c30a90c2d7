"""Samples are the means of the runs that were timed, and of no others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from secateur.benchmarks.layers.graph_work import GraphWork, Node
from secateur.benchmarks.layers.operations import LayerTimes, Operation, Sampled, graph_operation, joined_times
from secateur.benchmarks.paired import measure_pair
from secateur.core.errors import BenchError


class Counting:
    """A model whose n-th recorded run takes n milliseconds in its one operation."""

    most_runs, notes = 1000, ()

    def __init__(self, always: bool) -> None:
        self._always, self._on, self.recorded, self.runs = always, False, 0, 0

    def run(self) -> None:
        self.runs += 1
        self.recorded += self._always or self._on

    @contextmanager
    def recording(self) -> Iterator[None]:
        self._on = True
        yield
        self._on = False

    def finish(self) -> LayerTimes:
        return LayerTimes((Operation("one", "MatMul", "fc"),), np.arange(1.0, self.recorded + 1)[:, None])

    def close(self) -> None:
        pass


@pytest.mark.parametrize("always", [True, False])
def test_a_sample_is_the_mean_of_its_runs(always: bool) -> None:
    """One run comes before those of a sample, which is recorded and does not count."""
    sampled = Sampled(Counting(always), repeats=3)
    for _ in range(2):
        sampled.time_ms(sampled.run)
    assert sampled.samples(2).ms.ravel().tolist() == [np.mean([2, 3, 4]), np.mean([6, 7, 8])]
    assert sampled.samples(1).ms.ravel().tolist() == [7]  # the first was warm-up


def test_a_run_that_was_interrupted_does_not_count() -> None:
    counting = Counting(True)
    sampled = Sampled(counting, repeats=4)
    sampled.time_ms(sampled.run)
    found = counting.finish()
    found.ms[2] = 1000.0  # the second of runs 2, 3, 4 and 5: what is left of them are 4 and 5
    counting.finish = lambda: found  # type: ignore[method-assign]  # planted
    assert sampled.samples(1).ms.ravel().tolist() == [4.5]


def test_both_sides_have_as_many_samples_as_the_measurement() -> None:
    one, two = Counting(True), Counting(False)
    a, b = Sampled(one, 2), Sampled(two, 2)
    found = measure_pair(a, b, samples=20, warmup=0.0, seconds=9.0, half_width=0.0)
    assert [len(side.samples(len(found.a_ms)).ms) for side in (a, b)] == [20, 20]
    assert two.runs > two.recorded


def test_an_operation_does_what_its_nodes_do() -> None:
    nodes = {
        "a": Node("A", "Conv", "conv", 90, {"x": 4, "w": 8}, {"a": 16}),
        "b": Node("B", "Relu", "act", 0, {"a": 16}, {"b": 16}),
        "c": Node("C", "Transpose", "act", 0, {"b": 16}, {"c": 16}),
    }
    work = GraphWork(nodes, frozenset({"c"}))
    fused = graph_operation(work, "one", "FusedConv", {"b", "a"})
    assert (fused.layer, fused.others, fused.does, fused.moves) == ("conv", ("act",), ("Conv", "Relu"), False)
    assert (fused.macs, fused.bytes_moved) == (90, 4 + 8 + 16)
    assert graph_operation(work, "two", "Transpose", {"c"}).moves
    moved = graph_operation(work, "three", "ReorderInput", (), "b", "conv")
    assert (moved.moves, moved.bytes_moved, moved.layer, moved.does) == (True, 32, "conv", ())


def test_processes_that_run_the_same_are_joined_and_others_are_refused() -> None:
    """The second one has the operations in another order, and calls them otherwise."""
    kinds = ("MatMul", "Reorder", "Reorder")
    one = LayerTimes(tuple(Operation(f"{kind}_{place}", kind, "fc") for place, kind in enumerate(kinds)), np.eye(3))
    two = LayerTimes(tuple(Operation(kind, kind, "fc") for kind in kinds[::-1]), np.array([[1.0, 2.0, 3.0]]))
    found = joined_times([one, two])
    assert (found.operations, found.processes) == (one.operations, (3, 1))
    np.testing.assert_array_equal(found.ms, [*np.eye(3), [3, 1, 2]])
    assert joined_times([one]) is one
    for other in (Operation("MatMul_0", "Gemm", "fc"), Operation("MatMul_0", "MatMul", "other")):
        with pytest.raises(BenchError, match=r"other operations for one model.*bench\.processes: 1"):
            joined_times([one, LayerTimes((other, *one.operations[1:]), one.ms)])
    with pytest.raises(BenchError):
        joined_times([one, LayerTimes(one.operations[:2], one.ms[:, :2])])
