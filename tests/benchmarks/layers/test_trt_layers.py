"""Layers of TensorRT stand for the operations that its inspector names, with the times that its profiler reports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secateur.benchmarks.layers.graph_work import WHOLE, GraphWork, Node
from secateur.benchmarks.layers.trt_layers import TrtLayers, engine_operations, times_of
from secateur.core.errors import BenchError
from secateur.export.trt_engine import TrtEngine
from secateur.export.trt_inspect import InspectedLayer
from tests.export.fake_trt import make_module

WORK = GraphWork(
    {
        "c": Node("node_conv", "Conv", "conv", 90, {"input": 4}, {"c": 8}),
        "r": Node("node_relu", "Relu", "act", 0, {"c": 8}, {"r": 8}),
        "total": Node("node_total", "ReduceSum", "sum", 0, {"r": 8}, {"total": 4}),
    },
    frozenset({"total"}),
)


def test_an_engine_under_its_profiler(tmp_path: Path) -> None:
    """The stand-in takes twice as long in the second run."""
    path = tmp_path / "model.engine"
    path.write_bytes(b"plan")
    layers = TrtLayers(TrtEngine(make_module(), path, "cpu"), WORK, 2)
    with layers.recording():
        for _ in range(2):
            layers.run()
    found = layers.finish()
    layers.close()
    assert layers.recorded == 2
    reformat, total = found.operations
    assert (total.layer, total.kind, total.does, total.bytes_moved) == ("sum", "kgen", ("ReduceSum",), 12)
    assert (reformat.layer, reformat.kind, reformat.moves) == ("sum", "Reformat", True)
    np.testing.assert_allclose(found.ms, [[0.25, 0.5], [0.5, 1.0]])


def test_a_fused_layer_does_all_that_it_was_made_of_once() -> None:
    fused = InspectedLayer("conv_relu", "CaskConvolution", ("node_conv", "node_relu"), ())
    rest = InspectedLayer("tail", "PointWise", ("node_relu", "node_total"), ())
    alone = InspectedLayer("somewhere", "NoOp", ("somewhere",), ())
    first, second, third = engine_operations(WORK, [fused, rest, alone])
    assert (first.layer, first.others, first.macs, first.bytes_moved) == ("conv", ("act",), 90, 12)
    assert (second.layer, second.does, third.layer, third.moves) == ("sum", ("ReduceSum",), WHOLE, True)


def test_reports_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(BenchError, match="reports no layer"):
        times_of([[]], ())
    with pytest.raises(BenchError, match="other layers in each run"):
        times_of([[("a", 1.0)], [("b", 1.0)]], ())


def test_what_the_inspector_does_not_name_is_of_no_layer() -> None:
    (unknown,) = times_of([[("a", 1.0)]], ()).operations
    assert (unknown.layer, unknown.kind, unknown.moves) == (WHOLE, "not inspected", False)
