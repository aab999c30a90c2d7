"""Bias correction: what rounding a weight shifts on average goes into the bias."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from secateur.export.parity import session_of
from secateur.export.quantize.formats import Format
from secateur.export.quantize.graph_edit import add_to_bias, array_of
from secateur.export.quantize.insert import rounded_weight
from secateur.export.quantize.placement import Placement

if TYPE_CHECKING:
    import onnx_ir as ir


def mean_input(node_type: str, array: NDArray[Any]) -> NDArray[np.float64]:
    """What `correct` needs of an array that goes into a product: its mean over the batch, `[1, C, H, W]` of a
    convolution and `[K]` of others.
    """
    if node_type == "Conv":
        return np.asarray(array.mean(0, keepdims=True, dtype=np.float64))
    return np.asarray(array.reshape(-1, array.shape[-1]).mean(0, dtype=np.float64))


def correct(
    program: ir.Model, placement: Placement, means: Mapping[str, NDArray[Any]], form: Format
) -> tuple[str, ...]:
    """Adds to the biases of products the mean error of their rounded weights; returns the names of these products.

    `means` are the `mean_input` of activations. The mean of what a product gives is what it gives for the mean, since
    it is linear. Call it before `insert`. Nagel et al., Data-free quantization (1906.04721), 4.2.
    """
    nodes = {str(node.name): node for node in program.graph}
    done = []
    for product in placement.products:
        node = nodes[product.node]
        if not product.weight:
            continue
        weight, mean = array_of(node.inputs[1]), means[product.activations[0]]
        error = weight - rounded_weight(product, weight, form)
        if node.op_type == "Conv":
            shift = _convolved(node, mean, error).mean((0, 2, 3) if weight.ndim == 4 else (0, *range(2, weight.ndim)))
        else:
            shift = mean @ (error if product.axis == 1 else error.T)
        if add_to_bias(node, shift):
            done.append(product.node)
    return tuple(done)


def _convolved(node: ir.Node, array: NDArray[Any], weight: NDArray[Any]) -> NDArray[Any]:
    """What a convolution gives for an array with another weight and no bias."""
    import onnx_ir as ir
    from onnx import TensorProto, helper, numpy_helper

    alone = ir.to_proto(node)
    del alone.input[:]
    alone.input.extend(["array", "weight"])
    kind = TensorProto.FLOAT
    graph = helper.make_graph(
        [alone],
        "alone",
        [helper.make_tensor_value_info("array", kind, array.shape)],
        [helper.make_tensor_value_info(alone.output[0], kind, None)],
        [numpy_helper.from_array(np.ascontiguousarray(weight, np.float32), "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = session_of(model.SerializeToString(), Path("convolution.onnx"))
    return np.asarray(session.run(None, {"array": array.astype(np.float32)})[0])
