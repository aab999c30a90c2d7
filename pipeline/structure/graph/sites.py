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

    A layer may be called, or its weight, or a part of it, be handed to a function.
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
        products = [one for one in trace.products.get(tensor, ()) if not (called and one.module == module)]
        seen: set[str] = set()
        for product in products:
            for side, rows in (("out", product.rows), ("in", product.columns)):
                for labels in rows:
                    numbers = numbered(components.of_label[labels.numpy()], live)
                    if role in (side, "tied") and max(numbers) >= 0:
                        seen.add(side)
                        where: Side = "input" if side == "in" else "output"
                        found[side].append(Site(module, where, -1, numbers, leaf, product.samples, product.view))
        if products and not called:
            unseen = unseen or (role in READS and "in" not in seen)
            continue
        if role == "tied" and (called or not convolution):
            role = "out" if dim == (1 if isinstance(layer, _ConvTransposeNd) else 0) else "in"
            unseen = unseen or (role == "out" and "in" not in seen)
        if role not in found or not (called or (convolution and tensor in trace.handed)):
            unseen = unseen or role in READS
            continue
        if recurrent and role == "out":
            continue  # its rows are those of gates
        numbers = numbered(components.at[tensor, dim], live)
        axis = -1
        if isinstance(layer, _ConvNd):
            axis = 1
            if role == "in" and layer.groups > 1 and len(numbers) * layer.groups == layer.in_channels:
                numbers = numbers * layer.groups
        side_of: Side = "input" if role == "in" else "output"
        samples = trace.samples.get(tensor, FIRST)
        found[role].append(Site(module, side_of, axis, numbers, "" if called else leaf, samples))
    first, second = ("out", "in") if unseen else ("in", "out")
    return tuple(dict.fromkeys(found[first] or found[second]))
