"""Sites: where the values of a group's units can be read while the model runs."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from secateur.pipeline.structure.graph.components import Components, Place, numbered
from secateur.pipeline.structure.graph.trace import Trace
from secateur.pipeline.structure.groups import READS, Side, Site
from secateur.pipeline.structure.samples import FIRST


def sites_of(
    model: nn.Module, trace: Trace, places: Sequence[Place], components: Components, live: Sequence[int]
) -> tuple[Site, ...]:
    """The inputs of the layers that read the units; where not all are seen, the outputs of those that make them.

    A layer may be called, or its weight be handed to a function. That is not seen where it is handed on the other way
    round, as in tied layers.
    """
    found: dict[str, list[Site]] = {"in": [], "out": []}
    unseen = False
    for tensor, dim in places:
        role = trace.roles.get((tensor, dim), "norm")
        module, _, leaf = tensor.rpartition(".")
        layer = model.get_submodule(module)
        convolution = isinstance(layer, _ConvNd)
        recurrent = isinstance(layer, (nn.RNNBase, nn.RNNCellBase))
        known = recurrent or convolution or isinstance(layer, nn.Linear)
        called = known and tensor in trace.owners and model.get_submodule(trace.owners[tensor]) is layer
        if role == "tied" and (called or not convolution):
            role = "out" if dim == (1 if isinstance(layer, _ConvTransposeNd) else 0) else "in"
            unseen = unseen or role == "out"
        if role not in found or not (called or tensor in trace.handed):
            unseen = unseen or role in READS
            continue
        if recurrent and role == "out":
            continue  # its rows are those of gates
        if not known and len(trace.tensors[tensor]) != 2:
            continue  # a convolution whose groups no layer tells
        numbers = numbered(components.at[tensor, dim], live)
        axis = -1
        if isinstance(layer, _ConvNd):
            axis = 1
            if role == "in" and layer.groups > 1 and len(numbers) * layer.groups == layer.in_channels:
                numbers = numbers * layer.groups
        side: Side = "input" if role == "in" else "output"
        samples = trace.samples.get(tensor, FIRST)
        found[role].append(Site(module, side, axis, numbers, "" if called else leaf, samples))
    first, second = ("out", "in") if unseen else ("in", "out")
    return tuple(found[first] or found[second])
