"""A small graph as the exporter writes them: convolutions, a skip, a mean and a product, each node with its module."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def graph(path: Path, width: int = 16) -> Path:
    """Writes a network for images `[batch, 3, 8, 8]` whose convolutions have `width` channels."""
    rng = np.random.default_rng(0)
    shapes = {"stem.weight": (width, 3, 3, 3), "block.conv.weight": (width, width, 3, 3), "head.weight": (5, width)}
    weights = [
        numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name) for name, shape in shapes.items()
    ]
    weights.append(numpy_helper.from_array(np.array([2, 3], np.int64), "places"))
    nodes = [
        _node("Conv", ["input", "stem.weight"], "stem.bn", pads=[1, 1, 1, 1]),
        _node("Relu", ["node_0"], "stem.act"),
        _node("Conv", ["node_1", "block.conv.weight"], "block.bn", pads=[1, 1, 1, 1]),
        _node("Add", ["node_2", "node_1"], "block"),
        _node("Relu", ["node_3"], ""),
        _node("ReduceMean", ["node_4", "places"], "pool", keepdims=0),
        _node("Gemm", ["node_5", "head.weight"], "head", transB=1),
    ]
    for number, node in enumerate(nodes):
        node.output.append(f"node_{number}")
        node.name = f"{node.op_type}_{number}"
    takes = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 8, 8])
    gives = helper.make_tensor_value_info("node_6", TensorProto.FLOAT, ["batch", 5])
    content = helper.make_graph(nodes, "secateur", [takes], [gives], weights)
    onnx.save(helper.make_model(content, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def macs(width: int) -> dict[str, int]:
    """The MACs of each layer of `graph` for one image, from the definition."""
    return {"stem": 64 * width * 3 * 9, "block.conv": 64 * width * width * 9, "head": 5 * width}


def _node(kind: str, reads: list[str], module: str, **attributes: object) -> onnx.NodeProto:
    node = helper.make_node(kind, reads, [], **attributes)  # type: ignore[arg-type]  # attributes of any kind
    if module:
        node.metadata_props.append(onnx.StringStringEntryProto(key="module", value=module))
    return node
