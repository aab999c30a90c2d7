"""Where the samples lie in the tensors of a traced graph."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor, fx

from secateur.pipeline.structure.graph.program import SAMPLES, is_symbol, lengths, operation_of
from secateur.pipeline.structure.samples import Samples

_RESHAPED = ("view", "reshape", "_unsafe_view", "flatten", "unflatten")


def places_in(graph: fx.Graph) -> dict[fx.Node, Samples]:
    """Where the samples lie in the results of the nodes for which that follows from their shapes and the operations."""
    found: dict[fx.Node, tuple[int, int]] = {}
    for node in graph.nodes:
        if (place := _place(node, found)) is not None:
            found[node] = place
    return {node: _samples(node, *place) for node, place in found.items()}


def _samples(node: fx.Node, dim: int, apart: int) -> Samples:
    size = lengths(node.meta["val"])[dim] // SAMPLES
    return Samples(dim, None if apart == size else apart)


def _place(node: fx.Node, known: Mapping[fx.Node, tuple[int, int]]) -> tuple[int, int] | None:
    """The dimension that has the samples, and how many places of it each has that lie together."""
    tensor = node.meta.get("val")
    if not isinstance(tensor, Tensor):
        return None
    open_dims = [dim for dim, size in enumerate(tensor.shape) if is_symbol(size)]
    if len(open_dims) != 1:
        return None
    (dim,) = open_dims
    size = lengths(tensor)[dim]
    if size == SAMPLES:
        return dim, 1
    for source in node.all_input_nodes:
        if source not in known:
            continue
        before, apart = known[source]
        shape = lengths(source.meta["val"])
        if operation_of(node) not in _RESHAPED:
            if shape[before] == size:
                return dim, apart
            continue
        rows = apart * math.prod(shape[before + 1 :])  # between a sample and the next one, as they lie in memory
        inside = math.prod(lengths(tensor)[dim + 1 :])
        return (dim, rows // inside) if rows % inside == 0 and rows >= inside else None
    return None
