"""What nodes cost follows from the definition, and each node is of the layer whose weight or module it has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from secateur.benchmarks.layers.graph_work import WHOLE, GraphWork, graph_work, sized_graph
from tests.benchmarks.layers.graphs import graph, macs

PLANE = 8 * 8 * 16 * 4  # bytes of what a convolution gives for one image


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> GraphWork:
    return graph_work(graph(tmp_path_factory.mktemp("work") / "small.onnx"), batch=3)


def test_macs_are_those_of_the_definition(work: GraphWork) -> None:
    found = {node.layer: node.macs for node in work.nodes.values() if node.macs}
    assert found == {layer: 3 * one for layer, one in macs(16).items()}
    assert work.notes == ()


def test_a_product_is_of_the_module_that_owns_its_weight_and_the_rest_of_its_module(work: GraphWork) -> None:
    """A folded normalisation leaves its name on the convolution; what has no module lies in what is around it."""
    layers = ["stem", "stem.act", "block.conv", "block", WHOLE, "pool", "head"]
    assert [node.layer for node in work.nodes.values()] == layers


def test_what_passes_inside_of_a_kernel_is_not_moved(work: GraphWork) -> None:
    assert work.bytes_of(["node_1"]) == 3 * 2 * PLANE  # one plane in, one out
    assert work.bytes_of(["node_3", "node_4"]) == 3 * 3 * PLANE  # two in, one out
    weight = 16 * 16 * 9 * 4
    assert work.bytes_of(["node_2", "node_3", "node_4"]) == weight + 3 * 2 * PLANE  # the plane before is read once
    assert work.bytes_of(["node_1", "node_2"]) == weight + 3 * 3 * PLANE  # what `node_3` reads too is written


def test_the_layer_with_the_most_macs_comes_first(work: GraphWork) -> None:
    assert work.layers_of({"node_1", "node_2", "node_3"}) == ("block.conv", "stem.act", "block")
    assert work.layers_of({"node_4", "node_3"}) == ("block", WHOLE)  # of equals the first of the graph


def test_a_node_between_others_lies_in_the_module_that_holds_them(tmp_path: Path) -> None:
    model = onnx.load(graph(tmp_path / "a.onnx"))
    for place, module in ((3, "blocks.1.norm"), (4, ""), (5, "blocks.1.attn.pool"), (6, "blocks.1.attn.head")):
        del model.graph.node[place].metadata_props[:]
        if module:
            model.graph.node[place].metadata_props.append(onnx.StringStringEntryProto(key="module", value=module))
    onnx.save(model, tmp_path / "a.onnx")
    assert graph_work(tmp_path / "a.onnx", 1).nodes["node_4"].layer == "blocks.1"


def test_what_reads_weights_alone_is_of_the_layer_that_reads_it(tmp_path: Path) -> None:
    """A product is still told by the weight that is dequantised for it."""
    model = onnx.load(graph(tmp_path / "a.onnx"))
    product = next(node for node in model.graph.node if node.name == "Conv_2")
    scale = numpy_helper.from_array(np.float32(1), "scale")
    quantised = numpy_helper.from_array(np.zeros((16, 16, 3, 3), np.int8), "block.conv.weight.quantized")
    model.graph.initializer.extend([scale, quantised])
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", [quantised.name, "scale"], ["wide"], "dequantize"))
    product.input[1] = "wide"
    onnx.save(model, tmp_path / "a.onnx")
    found = graph_work(tmp_path / "a.onnx", 1)
    assert found.nodes["wide"].layer == found.nodes["node_2"].layer == "block.conv"
    assert found.nodes["node_2"].macs == macs(16)["block.conv"]


def test_sizes_that_nobody_knows_are_told(tmp_path: Path) -> None:
    model = onnx.load(graph(tmp_path / "a.onnx"))
    model.graph.input[0].type.tensor_type.shape.dim[2].Clear()
    onnx.save(model, tmp_path / "a.onnx")
    (note,) = graph_work(tmp_path / "a.onnx", 1).notes
    assert note.startswith("MACs and bytes are a lower bound in stem, stem.act, block.conv, block")


def test_sizes_follow_from_the_batch(tmp_path: Path) -> None:
    """Dimensions that are a multiple of it too, as the exporter writes those of windows."""
    takes = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["4*batch", 4])
    gives = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["other", 4])
    node = helper.make_node("Relu", ["input"], ["output"])
    found = sized_graph(helper.make_model(helper.make_graph([node], "one", [takes], [gives])), 3)
    assert [dim.dim_value for dim in found.graph.output[0].type.tensor_type.shape.dim] == [12, 4]
