"""Graphs of one or more products, small enough to be timed in a moment."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from secateur.export.onnx_info import KEPT


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


def mixed_graph(path: Path, products: int, wide: Collection[int], kept: Collection[int] = ()) -> Path:
    """Writes a graph in fp16 whose products `n0`, `n1`, ... of the numbers `wide` are in fp32.

    It says of those of the numbers `kept` that the export has kept them so.
    """
    nodes, weights, before = [], [], "input"
    for index in range(products):
        kind, numbers = (TensorProto.FLOAT, np.float32) if index in wide else (TensorProto.FLOAT16, np.float16)
        weights.append(numpy_helper.from_array(np.eye(8, dtype=numbers), f"w{index}"))
        nodes.append(helper.make_node("Cast", [before], [f"c{index}"], f"cast{index}", to=kind))
        nodes.append(helper.make_node("MatMul", [f"c{index}", f"w{index}"], [before := f"x{index}"], f"n{index}"))
    nodes.append(helper.make_node("Cast", [before], ["output"], "cast", to=TensorProto.FLOAT))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 8]) for name in ("input", "output")]
    graph = helper.make_graph(nodes, "mixed", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {KEPT: json.dumps({f"n{index}": "a rule" for index in kept})})
    onnx.save(model, path)
    return path
