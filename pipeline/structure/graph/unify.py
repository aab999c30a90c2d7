"""What an operation says of the elements that meet in it: they go together, or as a block, or not at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from secateur.pipeline.structure.graph.coupling import Coupling
from secateur.pipeline.structure.graph.value import LabelMap, Value, dims_of

SEVERAL = "it meets values that several kinds of units make together"
WHOLE = "it meets values along it that no parameter makes"


@dataclass(frozen=True)
class Cost:
    """Multiply-accumulates of one operation: `factor` times the number of elements of each map."""

    module: str
    factor: float
    maps: tuple[LabelMap, ...]

    @property
    def macs(self) -> float:
        """Those of the dense model."""
        return self.factor * math.prod(labels.numel() for labels in self.maps)

    def times(self, number: float) -> Cost:
        """The cost of doing it so often."""
        return replace(self, factor=self.factor * number)


def unify(coupling: Coupling, operands: Sequence[Value], where: str) -> tuple[LabelMap, ...]:
    """The maps of what elementwise meeting of the operands makes; all have one rank, with length 1 to broadcast.

    Maps of two operands that change along common dimensions are coupled, position by position. A map over heads
    and dimensions that meets one over heads alone stays finer: the head is a block of it. One that meets a constant
    along the dimensions, the same for all heads, goes head by head.
    """
    for one, two in combinations(operands, 2):
        for a, b in ((one, two), (two, one)):
            for labels in a.maps:
                _meet(coupling, labels, a, b, where)
    merged: list[LabelMap] = []
    every = [labels for operand in operands for labels in operand.maps if dims_of(labels)]
    free = [labels for labels in every if not coupling.all_fixed(labels)]
    for labels in sorted(free, key=lambda labels: -len(dims_of(labels))):
        if not any(dims_of(labels) & dims_of(other) for other in merged):
            merged.append(labels)
    return tuple(merged)


def _meet(coupling: Coupling, labels: LabelMap, own: Value, other: Value, where: str) -> None:
    """One map of one operand against the other operand."""
    dims = dims_of(labels)
    if not dims:
        return
    partners = [found for found in other.maps if dims_of(found) & dims]
    real = {dim for dim in dims if other.shape[dim] > 1}
    if len(partners) > 1:
        coupling.fix(labels, f"{where}: {SEVERAL}")
        for partner in partners:
            coupling.fix(partner, f"{where}: {SEVERAL}")
    elif partners:
        partner = partners[0]
        if coupling.is_constant(labels) and _alike(dims_of(partner), dims, own):
            return  # the other side says what becomes of the blocks
        if coupling.is_constant(partner) and _alike(dims, dims_of(partner), other):
            _in_one_piece(coupling, labels)
            coupling.fix(partner, f"{where}: {WHOLE}")
            return
        if len([found for found in own.maps if dims_of(found) & dims_of(partner)]) > 1:
            return  # seen from the other side, which fixes them
        if _coarser(dims_of(partner), dims, other):
            coupling.block(partner, labels)
        elif not _coarser(dims, dims_of(partner), own):
            coupling.couple(labels, partner)
    elif real and max(dims) in real:
        if _alike(dims, frozenset(real), other):
            _in_one_piece(coupling, labels)
        else:
            coupling.fix(labels, f"{where}: {WHOLE}")


def _alike(dims: frozenset[int], met: frozenset[int], other: Value) -> bool:
    """Whether a constant, as the angles of a rotation, treats the blocks of labels alike: it has the inner one only."""
    inner = max(dims)
    return len(dims) > 1 and met & dims == {inner} and all(other.shape[dim] == 1 for dim in dims - {inner})


def _in_one_piece(coupling: Coupling, labels: LabelMap) -> None:
    """All labels of a block go together, so that the constant need not change."""
    rows = labels.movedim(max(dims_of(labels)), -1)
    coupling.couple(rows, rows[..., :1])


def _coarser(coarse: frozenset[int], fine: frozenset[int], owner: Value) -> bool:
    """Whether a map of `owner` speaks of blocks of another: of its outer dimensions only, the inner one broadcast."""
    return coarse < fine and max(fine) not in coarse and owner.shape[max(fine)] == 1


def contract(
    coupling: Coupling, operands: Sequence[Value], summed: set[int], where: str, heads: bool = False
) -> tuple[tuple[LabelMap, ...], Cost]:
    """The maps of a sum of products over the dimensions `summed`, and the cost; operands as for `unify`.

    With `heads`, a head whose dimensions are summed over leaves a label of its own behind.
    """
    maps = unify(coupling, operands, where)
    rank = len(operands[0].shape)
    sizes = [max(operand.shape[dim] for operand in operands) for dim in range(rank)]
    mapped = frozenset[int]().union(*map(dims_of, maps))
    rest = math.prod(size for dim, size in enumerate(sizes) if dim not in mapped)
    kept = [labels for labels in maps if not dims_of(labels) & summed]
    for labels in maps:
        outer = dims_of(labels) - summed
        if heads and outer and dims_of(labels) & summed:
            shape = [size if dim in outer else 1 for dim, size in enumerate(labels.shape)]
            coarse = coupling.fresh(math.prod(shape)).reshape(shape)
            coupling.block(coarse, labels)
            kept.append(coarse)
    return tuple(kept), Cost(where, rest, maps)
