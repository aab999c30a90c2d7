"""Outlier Suppression+: the middles of a normalisation's channels move into the biases of the weights that read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from secateur.export.quantize.balance import balanced_outputs, normalisations
from secateur.export.quantize.graph_edit import add_to_bias, array_of, bias_of, replace_weight
from secateur.export.quantize.placement import Placement

if TYPE_CHECKING:
    import onnx_ir as ir


def centred_outputs(program: ir.Model, placement: Placement) -> tuple[str, ...]:
    """The `balanced_outputs` whose middles can move: the normalisation and all that read it have a bias."""
    nodes = {str(node.name): node for node in program.graph}
    outputs = balanced_outputs(program, placement)
    return tuple(
        name
        for norm in normalisations(program)
        if (name := str(norm.outputs[0].name)) in outputs
        and len(norm.inputs) > 2
        and norm.inputs[2] is not None
        and all(bias_of(nodes[product.node]) is not None for product in outputs[name])
    )


def recentre(program: ir.Model, placement: Placement, middles: Mapping[str, NDArray[Any]]) -> tuple[str, ...]:
    """Takes the `middles` `[channels]` off `centred_outputs`; returns the names of those that it changed.

    The product of a channel's middle and its weights goes into the biases behind, so the program computes what it did,
    and a symmetric range need only reach half as far as from the least value to the largest one. Wei et al., Outlier
    Suppression+ (2304.09145), 4.1.
    """
    nodes = {str(node.name): node for node in program.graph}
    readers = balanced_outputs(program, placement)
    norms = {str(norm.outputs[0].name): norm for norm in normalisations(program)}
    done = tuple(name for name in centred_outputs(program, placement) if name in middles)
    for name in done:
        for product in readers[name]:
            weight = array_of(nodes[product.node].inputs[1])
            middle = middles[name].astype(np.float64)
            add_to_bias(nodes[product.node], middle @ (weight if product.axis == 1 else weight.T))
        replace_weight(norms[name], 2, array_of(norms[name].inputs[2]) - middles[name], "centred")
    return done
