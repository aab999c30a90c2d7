"""Sites: where the values of a group's units can be read while the model runs."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from secateur.pipeline.structure.graph.components import Components, Place, numbered
from secateur.pipeline.structure.graph.trace import Trace
from secateur.pipeline.structure.groups import Site


def sites_of(
    model: nn.Module, trace: Trace, places: Sequence[Place], components: Components, live: Sequence[int]
) -> tuple[Site, ...]:
    """The inputs of the layers that read the units; where there is none, the outputs of those that make them.

    A layer may be called, or its weight be handed to a function.
    """
    found: dict[str, list[Site]] = {"in": [], "out": []}
    for tensor, dim in places:
        role = trace.roles.get((tensor, dim), "norm")
        module, _, leaf = tensor.rpartition(".")
        layer = model.get_submodule(module)
        if role not in found or tensor not in trace.owners:
            continue
        recurrent = isinstance(layer, (nn.RNNBase, nn.RNNCellBase))
        if recurrent and role == "out":
            continue  # its rows are those of gates
        known = recurrent or isinstance(layer, (nn.Linear, nn.modules.conv._ConvNd))
        if not known and len(trace.tensors[tensor]) != 2:
            continue  # a convolution whose groups no layer tells
        called = known and model.get_submodule(trace.owners[tensor]) is layer
        numbers = numbered(components.at[tensor, dim], live)
        axis = -1
        if isinstance(layer, nn.modules.conv._ConvNd):
            axis = 1
            if role == "in" and layer.groups > 1 and len(numbers) * layer.groups == layer.in_channels:
                numbers = numbers * layer.groups
        found[role].append(Site(module, "input" if role == "in" else "output", axis, numbers, "" if called else leaf))
    return tuple(found["in"] or found["out"])
