"""The multiply-accumulates of a graph's products, and the modules that they come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import TYPE_CHECKING

from secateur.export.quantize.observe import Arrays, observed
from secateur.export.quantize.placement import PRODUCTS, is_weight

if TYPE_CHECKING:
    import onnx_ir as ir


def product_macs(program: ir.Model, batches: Iterable[Arrays]) -> dict[str, float]:
    """The MACs for one image of each product, by the name of its node; sizes are those of the first batch."""
    nodes = [node for node in program.graph if node.op_type in PRODUCTS]
    read = [str(value.name) for node in nodes if (value := node.inputs[0]) is not None and not is_weight(value)]
    gave = [str(node.outputs[0].name) for node in nodes]
    feeds = next(iter(batches))
    arrays = next(observed(program, [*read, *gave], [feeds]))
    shapes = {name: array.shape for name, array in arrays.items()}
    images = len(next(iter(feeds.values())))
    return {str(node.name): node_macs(node, shapes) / images for node in nodes}


def product_modules(program: ir.Model) -> dict[str, str]:
    """The module that each node comes from, by the node's name; empty where the graph does not say."""
    return {str(node.name): node.metadata_props.get("module", "") for node in program.graph}


def node_macs(node: ir.Node, shapes: Mapping[str, tuple[int, ...]]) -> float:
    """The MACs of one of `PRODUCTS`: the size of what it gives times the values that it sums for each of them."""
    first, second = node.inputs[0], node.inputs[1]
    given = prod(shapes[str(node.outputs[0].name)])
    if node.op_type == "Conv":  # a weight is [outputs, inputs of a group, *kernel]
        return float(given * prod(_shape(second, shapes)[1:]))
    transposed = node.op_type == "Gemm" and (found := node.attributes.get("transA")) is not None and found.as_int()
    return float(given * _shape(first, shapes)[-2 if transposed else -1])


def _shape(value: ir.Value | None, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    if value is not None and value.const_value is not None:
        return tuple(value.const_value.shape.numpy())
    return shapes[str(value.name)] if value is not None else ()
