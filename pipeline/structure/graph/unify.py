"""What an operation says of the elements that meet in it: they go together, or as a block, or not at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from secateur.pipeline.structure.graph.coupling import Atoms
from secateur.pipeline.structure.graph.value import Layer, Value, dims_of

SEVERAL = "it meets values that several kinds of units make together"
WHOLE = "it meets values along it that no parameter makes"


@dataclass(frozen=True)
class Cost:
    """Multiply-accumulates of one operation: `factor` times the number of elements of each layer."""

    module: str
    factor: float
    layers: tuple[Layer, ...]

    @property
    def macs(self) -> float:
        """Those of the dense model."""
        return self.factor * math.prod(layer.numel() for layer in self.layers)


def relate(atoms: Atoms, operands: Sequence[Value], where: str) -> tuple[Layer, ...]:
    """The layers of what elementwise meeting of the operands makes; all have one rank, with length 1 to broadcast.

    Layers of two operands that change along common dimensions are united, position by position. A layer over heads
    and dimensions that meets one over heads alone stays finer: the head is a block of it.
    """
    for one, two in combinations(operands, 2):
        for a, b in ((one, two), (two, one)):
            for layer in a.layers:
                _meet(atoms, layer, a, b, where)
    merged: list[Layer] = []
    every = [layer for operand in operands for layer in operand.layers if dims_of(layer) and not atoms.stuck(layer)]
    for layer in sorted(every, key=lambda layer: -len(dims_of(layer))):
        if not any(dims_of(layer) & dims_of(other) for other in merged):
            merged.append(layer)
    return tuple(merged)


def _meet(atoms: Atoms, layer: Layer, own: Value, other: Value, where: str) -> None:
    """One layer of one operand against the other operand."""
    dims = dims_of(layer)
    if not dims:
        return
    partners = [found for found in other.layers if dims_of(found) & dims]
    real = {dim for dim in dims if other.shape[dim] > 1}
    if len(partners) > 1:
        atoms.fix(layer, f"{where}: {SEVERAL}")
        for partner in partners:
            atoms.fix(partner, f"{where}: {SEVERAL}")
    elif partners:
        partner = partners[0]
        if len([found for found in own.layers if dims_of(found) & dims_of(partner)]) > 1:
            return  # seen from the other side, which fixes them
        if _coarser(dims_of(partner), dims, other):
            atoms.block(partner, layer)
        elif not _coarser(dims, dims_of(partner), own):
            atoms.unite(layer, partner)
    elif real and max(dims) in real:
        atoms.fix(layer, f"{where}: {WHOLE}")


def _coarser(coarse: frozenset[int], fine: frozenset[int], owner: Value) -> bool:
    """Whether a layer of `owner` speaks of blocks of another: of its outer dimensions only, the inner one broadcast."""
    return coarse < fine and max(fine) not in coarse and owner.shape[max(fine)] == 1


def contract(
    atoms: Atoms, operands: Sequence[Value], summed: set[int], where: str, heads: bool = False
) -> tuple[tuple[Layer, ...], Cost]:
    """The layers of a sum of products over the dimensions `summed`, and the cost; operands as for `relate`.

    With `heads`, a head whose dimensions are summed over leaves an atom of its own behind.
    """
    layers = relate(atoms, operands, where)
    rank = len(operands[0].shape)
    sizes = [max(operand.shape[dim] for operand in operands) for dim in range(rank)]
    in_layers = frozenset[int]().union(*map(dims_of, layers))
    rest = math.prod(size for dim, size in enumerate(sizes) if dim not in in_layers)
    kept = [layer for layer in layers if not dims_of(layer) & summed]
    for layer in layers:
        outer = dims_of(layer) - summed
        if heads and outer and dims_of(layer) & summed:
            shape = [size if dim in outer else 1 for dim, size in enumerate(layer.shape)]
            coarse = atoms.fresh(math.prod(shape)).reshape(shape)
            atoms.block(coarse, layer)
            kept.append(coarse)
    return tuple(kept), Cost(where, rest, layers)
