"""Where the samples lie in the tensors of a traced graph."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, fx

from secateur.pipeline.structure.graph.program import SAMPLES, is_symbol, lengths, operation_of
from secateur.pipeline.structure.samples import Samples

_RESHAPED = ("view", "reshape", "_unsafe_view", "flatten", "unflatten")


def samples_in(node: Any) -> Samples | None:
    """Where the samples lie in a node's result; None where that does not follow from its shape and those before it."""
    place = _place(node)
    if place is None:
        return None
    dim, apart = place
    size = lengths(node.meta["val"])[dim] // SAMPLES
    return Samples(dim, None if apart == size else apart)


def _place(node: Any) -> tuple[int, int] | None:
    """The dimension that has the samples, and how many places of it each has that lie together."""
    tensor = node.meta.get("val") if isinstance(node, fx.Node) else None
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
        found = _place(source)
        if found is None:
            continue
        shape = lengths(source.meta["val"])
        if operation_of(node) not in _RESHAPED:
            if shape[found[0]] == size:
                return dim, found[1]
            continue
        rows = found[1] * math.prod(shape[found[0] + 1 :])  # between a sample and the next one, as they lie in memory
        inside = math.prod(lengths(tensor)[dim + 1 :])
        return (dim, rows // inside) if rows % inside == 0 and rows >= inside else None
    return None
