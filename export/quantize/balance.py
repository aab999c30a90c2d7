"""SmoothQuant: what varies between the channels of a normalisation's output moves into the weights that read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from secateur.export.quantize.graph_edit import array_of, replace_weight
from secateur.export.quantize.placement import Placement, Product

if TYPE_CHECKING:
    import onnx_ir as ir


def balanced_outputs(program: ir.Model, placement: Placement) -> dict[str, tuple[Product, ...]]:
    """The outputs of LayerNorms that weights in 8 bits alone read, each with the products that do."""
    products = {product.node: product for product in placement.products if product.weight}
    found = {}
    for node in normalisations(program):
        output = node.outputs[0]
        readers = [(str(reader.name), place) for reader, place in output.uses()]
        if readers and not output.is_graph_output() and all(name in products and not at for name, at in readers):
            found[str(output.name)] = tuple(products[name] for name, _ in readers)
    return found


def balance(
    program: ir.Model, placement: Placement, largest: Mapping[str, NDArray[Any]], strength: float
) -> tuple[str, ...]:
    """Divides the channels of the outputs by what the weights are multiplied with; returns the outputs' names.

    `largest` are the largest magnitudes `[channels]` of `balanced_outputs`. A channel's factor is
    `largest^strength / weight^(1 - strength)`, with the largest magnitude of the weights that read it; it goes into the
    scale and the bias of the LayerNorm, so the program computes what it did. Xiao et al., SmoothQuant (2211.10438), 4.
    """
    done = []
    nodes = {str(node.name): node for node in program.graph}
    readers = balanced_outputs(program, placement)
    for norm in normalisations(program):
        name = str(norm.outputs[0].name)
        if name not in readers or name not in largest:
            continue
        weights = {product.node: array_of(nodes[product.node].inputs[1]) for product in readers[name]}
        axes = {product.node: product.axis for product in readers[name]}
        reach = np.max([np.abs(weight).max(axes[node]) for node, weight in weights.items()], axis=0)
        factor = _factor(largest[name], reach, strength)
        for node, weight in weights.items():
            shaped = factor[:, None] if axes[node] == 1 else factor[None, :]
            replace_weight(nodes[node], 1, weight * shaped, "balanced")
        for place in range(1, len(norm.inputs)):
            if norm.inputs[place] is not None:
                replace_weight(norm, place, array_of(norm.inputs[place]) / factor, "balanced")
        done.append(name)
    return tuple(done)


def _factor(largest: NDArray[Any], reach: NDArray[Any], strength: float) -> NDArray[np.float32]:
    """The factor of each channel; 1 where nothing comes out of it, or nothing reads it."""
    alive = (largest > 0) & (reach > 0)
    ratio = np.where(alive, largest, 1) ** strength / np.where(alive, reach, 1) ** (1 - strength)
    return np.where(alive, np.clip(ratio, 1e-4, 1e4), 1).astype(np.float32)


def normalisations(program: ir.Model) -> Iterator[ir.Node]:
    """The LayerNorms over the last axis whose scale, one for each channel, is a constant."""
    for node in program.graph:
        if node.op_type not in ("LayerNormalization", "RMSNormalization"):
            continue
        axis, rank = node.attributes.get("axis"), len(node.outputs[0].shape or ())
        scale = node.inputs[1]
        constant = all(value is None or value.const_value is not None for value in node.inputs[1:])
        last = axis is None or axis.as_int() in (-1, rank - 1)
        if last and constant and scale is not None and scale.shape is not None and len(scale.shape) == 1:
            yield node
