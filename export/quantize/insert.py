"""Writes Q/DQ pairs into a graph: explicit 8 bits, which every runtime reads alike."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from secateur.export.quantize.formats import Format
from secateur.export.quantize.graph_edit import add_constant, array_of
from secateur.export.quantize.placement import Placement, Product

if TYPE_CHECKING:
    import onnx_ir as ir


def insert(
    program: ir.Model, placement: Placement, reaches: Mapping[str, float], form: Format, unsigned: Container[str] = ()
) -> None:
    """Makes the products of the placement read tensors that have gone through 8 bits.

    `reaches` says how far each activation reaches, `unsigned` are those that are never below zero and may have a format
    without a sign. An activation has one scale and one Q/DQ pair for all of these
    readers; a weight is stored in 8 bits with a scale for each output channel.
    """
    nodes = {str(node.name): node for node in program.graph}
    through: dict[str, ir.Value] = {}
    weights: dict[tuple[str, int], ir.Value] = {}

    def activation(value: ir.Value) -> ir.Value:
        name = str(value.name)
        if name not in through:
            through[name] = _activation(
                program, value, reaches[name], form.without_sign() if name in unsigned else form
            )
        return through[name]

    values = {str(value.name): value for node in program.graph for value in node.outputs}
    for name in placement.outputs:
        readers = list(values[name].uses())
        for node, place in readers:
            node.replace_input_with(place, activation(values[name]))
    for product in placement.products:
        node = nodes[product.node]
        for place, name in enumerate(product.activations):
            node.replace_input_with(place, through[name] if name in through else activation(_input(node, place)))
        if product.weight:
            weight = _input(node, 1)
            key = (str(weight.name), product.axis)
            if key not in weights:
                weights[key] = _weight(program, node, weight, product.axis, form)
            node.replace_input_with(1, weights[key])
    for adds, name in placement.skips.items():
        node = nodes[adds]
        for place, value in enumerate(node.inputs):
            if value is not None and value.name == name:
                node.replace_input_with(place, activation(value))


def weight_scale(product: Product, weight: NDArray[Any], form: Format) -> NDArray[np.float32]:
    """The scale of each output channel of a product's weight, shaped to be multiplied with it."""
    others = tuple(axis for axis in range(weight.ndim) if axis != product.axis)
    return form.scale(np.abs(weight).max(others, keepdims=True))


def rounded_weight(product: Product, weight: NDArray[Any], form: Format) -> NDArray[np.float32]:
    """The weight as the graph in 8 bits has it."""
    scale = weight_scale(product, weight, form)
    return np.asarray(form.encode(weight, scale).astype(np.float32) * scale)


def _activation(program: ir.Model, value: ir.Value, reach: float, form: Format) -> ir.Value:
    import onnx_ir as ir

    graph, name = program.graph, str(value.name)
    scale = add_constant(graph, f"{name}.scale", form.scale(reach))
    zero = add_constant(graph, f"{name}.zero", form.encode(np.zeros(()), 1.0), form.element)
    down = ir.node("QuantizeLinear", [value, scale, zero], name=f"{name}.quantize")
    up = ir.node("DequantizeLinear", [down.outputs[0], scale, zero], name=f"{name}.dequantize")
    _describe(down.outputs[0], f"{name}.quantized", form.element, value)
    _describe(up.outputs[0], f"{name}.dequantized", ir.DataType.FLOAT, value)
    producer = value.producer()
    if producer is None:
        graph.insert_before(next(iter(graph)), [down, up])
    else:
        graph.insert_after(producer, [down, up])
    return up.outputs[0]


def _weight(program: ir.Model, node: ir.Node, weight: ir.Value, axis: int, form: Format) -> ir.Value:
    import onnx_ir as ir

    graph, name, array = program.graph, str(weight.name), array_of(weight)
    scale = weight_scale(Product(str(node.name), (), name, axis), array, form)
    stored = add_constant(graph, f"{name}.quantized", form.encode(array, scale), form.element)
    zeros = add_constant(graph, f"{name}.zero", form.encode(np.zeros(scale.size), 1.0), form.element)
    factor = add_constant(graph, f"{name}.scale", scale.ravel())
    up = ir.node("DequantizeLinear", [stored, factor, zeros], {"axis": axis}, name=f"{name}.dequantize")
    _describe(up.outputs[0], f"{name}.dequantized", ir.DataType.FLOAT, weight)
    graph.insert_before(node, [up])
    return up.outputs[0]


def _input(node: ir.Node, place: int) -> ir.Value:
    value = node.inputs[place]
    if value is None:
        raise TypeError(f"{node.name} has no input {place}")
    return value


def _describe(value: ir.Value, name: str, element: ir.DataType, like: ir.Value) -> None:
    import onnx_ir as ir

    value.name, value.shape, value.type = name, like.shape, ir.TensorType(element)
