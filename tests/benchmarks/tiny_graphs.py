"""Graphs of one or more products, small enough to be timed in a moment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def tiny_graph(path: Path, products: int = 1, batch: int | str = "batch", kind: int = TensorProto.FLOAT) -> Path:
    """Writes a graph that multiplies `[batch, 8]` so many times; whole numbers are cast first."""
    weights = [numpy_helper.from_array(np.eye(8, dtype=np.float32), f"w{index}") for index in range(products)]
    nodes = [helper.make_node("Cast", ["input"], ["x0"], to=TensorProto.FLOAT)]
    for index in range(products):
        nodes.append(helper.make_node("MatMul", [f"x{index}", f"w{index}"], [f"x{index + 1}"]))
    inputs = [helper.make_tensor_value_info("input", kind, [batch, 8])]
    outputs = [helper.make_tensor_value_info(f"x{products}", TensorProto.FLOAT, [batch, 8])]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return path
