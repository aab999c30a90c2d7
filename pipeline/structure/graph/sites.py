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
    """The inputs of the layers that read the units; where none is a module, the outputs of those that make them."""
    found: dict[str, list[Site]] = {"in": [], "out": []}
    for tensor, dim in places:
        role = trace.roles.get((tensor, dim), "norm")
        module = tensor.rpartition(".")[0]
        layer = model.get_submodule(module)
        if role not in found or tensor not in trace.owners or model.get_submodule(trace.owners[tensor]) is not layer:
            continue
        if not isinstance(layer, (nn.Linear, nn.modules.conv._ConvNd)):
            continue
        numbers = numbered(components.at[tensor, dim], live)
        if isinstance(layer, nn.Linear):
            axis = -1
        else:
            axis = 1
            if role == "in" and layer.groups > 1 and len(numbers) * layer.groups == layer.in_channels:
                numbers = numbers * layer.groups
        found[role].append(Site(module, "input" if role == "in" else "output", axis, numbers))
    return tuple(found["in"] or found["out"])
