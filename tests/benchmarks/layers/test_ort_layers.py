"""Each operation that ONNX Runtime runs stands for the nodes of the exported graph whose work it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from secateur.benchmarks.layers.graph_work import WHOLE, GraphWork, Node, graph_work
from secateur.benchmarks.layers.operations import LayerTimes, Operation
from secateur.benchmarks.layers.ort_layers import OrtLayers, fused_operations, times_of
from secateur.core.errors import BenchError
from tests.benchmarks.layers.graphs import graph, macs
from tests.export.conftest import needs_ort

CPU = "CPUExecutionProvider"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> LayerTimes:
    """Three runs of two images."""
    folder = tmp_path_factory.mktemp("ort")
    path = graph(folder / "small.onnx")
    layers = OrtLayers(path, graph_work(path, 2), "cpu", 2, 1, folder / "profile")
    with layers.recording():
        for _ in range(3):
            layers.run()
    times = layers.finish()
    layers.close()
    assert layers.recorded == 3
    return times


@needs_ort
def test_all_work_is_in_the_layers_that_have_it(found: LayerTimes) -> None:
    assert {one.layer: one.macs for one in found.operations if one.macs} == {
        layer: 2 * one for layer, one in macs(16).items()
    }
    assert sorted(kind for one in found.operations for kind in one.does) == sorted(
        ["Conv", "Relu", "Conv", "Add", "Relu", "ReduceMean", "Gemm"]
    )


@needs_ort
def test_every_run_has_times_of_every_operation(found: LayerTimes) -> None:
    assert found.ms.shape == (3, len(found.operations))
    assert (found.ms >= 0).all() and found.ms.sum() > 0
    assert {one.provider for one in found.operations} == {CPU}


def _chain() -> GraphWork:
    """Conv, Add of a skip, Relu, Conv, Relu."""
    nodes = [
        Node("C1", "Conv", "one", 9, {"input": 4}, {"c1": 4}),
        Node("A1", "Add", "skip", 0, {"c1": 4, "input": 4}, {"a1": 4}),
        Node("R1", "Relu", "act", 0, {"a1": 4}, {"r1": 4}),
        Node("C2", "Conv", "two", 9, {"r1": 4}, {"c2": 4}),
        Node("R2", "Relu", "end", 0, {"c2": 4}, {"r2": 4}),
    ]
    return GraphWork({next(iter(node.writes)): node for node in nodes}, frozenset({"r2"}))


def _optimised(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    return helper.make_model(helper.make_graph(list(nodes), "optimised", [], []))


def test_convolutions_in_blocks_are_found_by_their_names() -> None:
    """ONNX Runtime calls them as the tensor before what they add and clip, in tensors of names of their own.

    What the second does is known by the tensor that it is written back to.
    """
    blocked = {"domain": "com.microsoft.nchwc"}
    operations = fused_operations(
        _chain(),
        _optimised(
            helper.make_node("ReorderInput", ["input"], ["token_0"], "ReorderInput", **blocked),
            helper.make_node(
                "Conv", ["token_0", "w", "", "input"], ["token_1"], "c1_nchwc", activation="Relu", **blocked
            ),
            helper.make_node("Conv", ["token_1", "w"], ["token_2"], "c2_nchwc", **blocked),
            helper.make_node("ReorderOutput", ["token_2"], ["r2"], "ReorderOutput", **blocked),
        ),
    )
    assert [(one.kind, one.layer, one.does) for one in operations] == [
        ("ReorderInput", "one", ()),
        ("Conv (NCHWc)", "one", ("Conv", "Add", "Relu")),
        ("Conv (NCHWc)", "two", ("Conv", "Relu")),
        ("ReorderOutput", "two", ()),
    ]
    assert [one.moves for one in operations] == [True, False, False, True]
    assert [one.bytes_moved for one in operations] == [8, 8, 8, 8]


def test_casts_that_are_inserted_move_tensors_and_the_names_that_they_leave_are_known() -> None:
    """Where a processor has no kernels for fp16: tensors in fp32 have names of their own, and nodes keep theirs."""
    cast, blocked = "InsertedPrecisionFreeCast_", {"domain": "com.microsoft.nchwc"}
    operations = fused_operations(
        _chain(),
        _optimised(
            helper.make_node("Conv", ["input", "w"], [f"{cast}token_1"], f"{cast}c1_nchwc", **blocked),
            helper.make_node("ReorderOutput", [f"{cast}token_1"], [f"{cast}c1"], "ReorderOutput", **blocked),
            helper.make_node("Cast", [f"{cast}c1"], ["c1"], f"{cast}c1"),
            helper.make_node("Add", ["c1", "input"], [f"{cast}a1"], "A1"),
            helper.make_node("Relu", [f"{cast}a1"], ["r1"], "R1"),
            helper.make_node("Cast", ["r1"], [f"{cast}r1_token_3"], f"{cast}r1"),
            helper.make_node("Conv", [f"{cast}r1_token_3", "w"], [f"{cast}c2"], "C2"),
            helper.make_node("Relu", [f"{cast}c2"], ["r2"], "R2"),
        ),
    )
    assert [(one.layer, one.does, one.moves) for one in operations] == [
        ("one", ("Conv",), False),
        ("one", (), True),
        ("one", (), True),
        ("skip", ("Add",), False),
        ("act", ("Relu",), False),
        ("two", (), True),
        ("two", ("Conv",), False),
        ("end", ("Relu",), False),
    ]


def test_an_operation_that_nobody_reads_is_of_the_model() -> None:
    (alone,) = fused_operations(_chain(), _optimised(helper.make_node("Identity", ["input"], ["new"], "copy")))
    assert (alone.layer, alone.moves) == (WHOLE, True)


def test_a_node_that_is_folded_into_several_counts_once() -> None:
    nodes = [
        Node("M", "Mul", "scale", 0, {"w": 4}, {"m": 4}),
        Node("A", "Add", "one", 0, {"input": 4, "m": 4}, {"a": 4}),
        Node("B", "Add", "two", 0, {"a": 4, "m": 4}, {"b": 4}),
    ]
    work = GraphWork({next(iter(node.writes)): node for node in nodes}, frozenset({"b"}))
    operations = fused_operations(
        work, _optimised(helper.make_node("Add", ["input", "k"], ["a"]), helper.make_node("Add", ["a", "k"], ["b"]))
    )
    assert [one.does for one in operations] == [("Mul", "Add"), ("Add",)]


def test_parts_of_a_split_that_stands_for_slices() -> None:
    nodes = [
        Node("S1", "Slice", "attn", 0, {"input": 8}, {"s1": 4}),
        Node("S2", "Slice", "attn", 0, {"input": 8}, {"s2": 4}),
        Node("R", "Relu", "act", 0, {"s2": 4}, {"r": 4}),
    ]
    work = GraphWork({next(iter(node.writes)): node for node in nodes}, frozenset({"s1", "r"}))
    split, relu = fused_operations(
        work,
        _optimised(
            helper.make_node("Split", ["input"], ["S1", "S2"], "S2/GatherSliceToSplitFusion"),
            helper.make_node("Relu", ["S2"], ["r"], "R"),
        ),
    )
    assert (split.does, split.moves, relu.does) == (("Slice", "Slice"), True, ("Relu",))


def _events(*runs: dict[int, tuple[float, str]]) -> list[dict[str, Any]]:
    """A profile's events: of each run the microseconds and the provider of each operation by its number."""
    found: list[dict[str, Any]] = [{"cat": "Session", "name": "session_initialization", "dur": 9}]
    for run in runs:
        for number, (dur, provider) in run.items():
            found.append({"cat": "Node", "name": f"{number}_fence_before", "dur": 1, "args": {}})
            found.append({"cat": "Node", "name": f"{number}_kernel_time", "dur": dur, "args": {"provider": provider}})
        found.append({"cat": "Session", "name": "model_run", "dur": 99, "args": {}})
    return found


OPERATIONS = (Operation("a", "Conv", "one"), Operation("b", "Relu", "two"))


def test_times_are_milliseconds_of_each_run_and_say_who_ran_it() -> None:
    events = _events(
        {1: (3, CPU), 0: (2000, "CUDAExecutionProvider")}, {0: (1000, "CUDAExecutionProvider"), 1: (5, CPU)}
    )
    times = times_of(events, OPERATIONS)
    np.testing.assert_allclose(times.ms, [[2.0, 0.003], [1.0, 0.005]])
    assert [one.provider for one in times.operations] == ["CUDAExecutionProvider", CPU]


def test_a_profile_that_is_not_whole_is_refused() -> None:
    with pytest.raises(BenchError, match="lacks 'b' in run 2: measure for fewer --seconds"):
        times_of(_events({0: (1, CPU), 1: (1, CPU)}, {0: (1, CPU)}), OPERATIONS)
    with pytest.raises(BenchError, match="holds no run: measure for more --seconds"):
        times_of(_events(), OPERATIONS)


def test_a_device_that_runs_the_graph_as_one_is_refused(tmp_path: Path) -> None:
    path = graph(tmp_path / "small.onnx")
    with pytest.raises(
        BenchError, match=r"onnxruntime:tensorrt runs a graph as one.* tensorrt, or one of onnxruntime:cpu"
    ):
        OrtLayers(path, graph_work(path, 1), "tensorrt", 1, 1, tmp_path / "profile")
