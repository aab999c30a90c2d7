"""What an operation says of the elements that meet in it: they go together, or as a block, or not at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from secateur.pipeline.structure.graph.coupling import Coupling
from secateur.pipeline.structure.graph.value import LabelMap, Value, dims_of

PIECE = "numbers that are of no single dimension of a head, or are added to those of every head, take all of them"
TABLE = "a table of numbers that heads share, as the angles of a rotation, stays whole: each attention picks from it"
CROSSED = "each dimension of a head meets all the others of it"
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


def unify(coupling: Coupling, operands: Sequence[Value], where: str, product: bool = False) -> tuple[LabelMap, ...]:
    """The maps of what elementwise meeting of the operands makes; all have one rank, with length 1 to broadcast.

    Maps of two operands that change along common dimensions are coupled, position by position. A map over heads
    and dimensions that meets one over heads alone stays finer: the head is a block of it. One that meets a constant
    along the dimensions, the same for all heads, goes head by head; in a `product` the same dimension of all heads may
    go as well, since code that is taken over picks from the constant (`RemainingSizes.picked`). Two over the same heads
    whose dimensions lie apart, as keys and values in linear attention, have only the heads in common.
    """
    for one, two in combinations([operand.narrow for operand in operands] if product else operands, 2):
        for a, b in ((one, two), (two, one)):
            for labels in a.maps:
                _meet(coupling, labels, a, b, where, product)
    merged: list[LabelMap] = []
    every = [labels for operand in operands for labels in operand.maps if dims_of(labels)]
    free = [labels for labels in every if not coupling.all_fixed(labels)]
    for labels in sorted(free, key=lambda labels: -len(dims_of(labels))):
        if not any(dims_of(labels) & dims_of(other) and not _apart(labels, other) for other in merged):
            merged.append(labels)
    return tuple(merged)


def _meet(coupling: Coupling, labels: LabelMap, own: Value, other: Value, where: str, product: bool) -> None:
    """One map of one operand against the other operand."""
    dims = dims_of(labels)
    if not dims:
        return
    beside = [found for found in other.maps if _apart(labels, found)]
    for found in beside:
        heads = coupling.heads_of(labels, {max(dims)})
        coupling.block(heads, found)
    partners = [found for found in other.maps if dims_of(found) & dims and not _apart(labels, found)]
    real = {dim for dim in dims if other.shape[dim] > 1 and not (beside and dim != max(dims))}
    if len(partners) > 1 and all(_coarser(dims, dims_of(partner), own) for partner in partners):
        return  # heads, which their dimensions meet from the other side
    if product and not coupling.is_constant(labels) and _picked(coupling, dims, partners, other):
        coupling.couple(labels, labels[_first_head(dims)], across=True)
        for partner in partners:
            coupling.fix(partner, f"{where}: {TABLE}")
        return
    if len(partners) > 1:
        coupling.fix(labels, f"{where}: {SEVERAL}")
        for partner in partners:
            coupling.fix(partner, f"{where}: {SEVERAL}")
    elif partners:
        partner = partners[0]
        if coupling.is_constant(labels) and (
            _alike(dims_of(partner), dims, own) or (product and _picked(coupling, dims_of(partner), [labels], own))
        ):
            return  # seen from the other side, which says what becomes of the heads
        if coupling.is_constant(partner) and _alike(dims, dims_of(partner), other):
            coupling.piece(labels, PIECE)
            coupling.fix(partner, f"{where}: {WHOLE}")
            return
        if _coarser(dims_of(partner), dims, other):
            coupling.block(partner, labels)
            return
        if len([one for one in own.maps if dims_of(one) & dims_of(partner) and not _apart(one, partner)]) > 1:
            return  # seen from the other side, which fixes them
        if not _coarser(dims, dims_of(partner), own):
            if dims_of(partner) < dims and max(dims) not in dims_of(partner):
                coupling.piece(labels, PIECE)
            coupling.couple(
                labels, partner, across=_shared(dims, partner, other) or _shared(dims_of(partner), labels, own)
            )
    elif real and max(dims) in real:
        if beside and len(dims) > 1:
            coupling.piece(labels, CROSSED)
        elif _alike(dims, frozenset(real), other):
            coupling.piece(labels, PIECE)
        else:
            coupling.fix(labels, f"{where}: {WHOLE}")


def _picked(coupling: Coupling, dims: frozenset[int], partners: Sequence[LabelMap], other: Value) -> bool:
    """Whether what is left of the dimensions of heads can pick from a table of all of them, or of all heads.

    That of heads by dimensions may be made of parameters, such as the frequencies of all blocks. Of a single head the
    dimensions are those of any layer: a table is what changes along another dimension, too, and cannot be cut itself.
    """
    if other.shape[max(dims)] == 1:
        return False
    if len(partners) > 1:
        return len(dims) > 1 and not other.computed and all(len(dims_of(partner)) == 1 for partner in partners)
    if len(dims) == 1 and (
        other.computed
        or all(size == 1 for dim, size in enumerate(other.shape) if dim not in dims)
        or not all(map(coupling.all_fixed, partners))
    ):
        return False
    return all(map(coupling.is_constant, partners))


def _first_head(dims: frozenset[int]) -> tuple[slice, ...]:
    """The part of a map over `dims`, heads and their dimensions, that is of the first head."""
    return tuple(slice(0, 1) if dim in dims and dim < max(dims) else slice(None) for dim in range(max(dims) + 1))


def _alike(dims: frozenset[int], met: frozenset[int], other: Value) -> bool:
    """Whether a constant, as the angles of a rotation, treats the blocks of labels alike: it has the inner one only."""
    inner = max(dims)
    return len(dims) > 1 and met & dims == {inner} and all(other.shape[dim] == 1 for dim in dims - {inner})


def _apart(one: LabelMap, two: LabelMap) -> bool:
    """Whether two maps speak of the same heads, and each of other dimensions of them."""
    outer = [dims_of(labels) - {max(dims_of(labels), default=0)} for labels in (one, two)]
    if not outer[0] or outer[0] != outer[1] or max(dims_of(one)) == max(dims_of(two)):
        return False
    return all(one.shape[dim] == two.shape[dim] for dim in outer[0])


def _shared(dims: frozenset[int], common: LabelMap, owner: Value) -> bool:
    """Whether a map of `owner` speaks of the inner one of `dims` alone, the same for all heads.

    One that speaks of groups of heads too, as grouped keys do, is no such: groups go whole, with all their queries.
    """
    inner = dims_of(common)
    return inner < dims and inner == {max(dims)} and all(owner.shape[dim] == 1 for dim in dims - inner)


def _coarser(coarse: frozenset[int], fine: frozenset[int], owner: Value) -> bool:
    """Whether a map of `owner` speaks of blocks of another: of its outer dimensions only, the inner one broadcast."""
    return coarse < fine and max(fine) not in coarse and owner.shape[max(fine)] == 1


def contract(
    coupling: Coupling, operands: Sequence[Value], summed: set[int], where: str, heads: bool = False
) -> tuple[tuple[LabelMap, ...], list[Cost]]:
    """The maps of a sum of products over the dimensions `summed`, and what it costs; operands as for `unify`.

    With `heads`, a head whose dimensions are summed over leaves a label of its own behind.
    """
    maps = unify(coupling, [operand.narrow for operand in operands], where)
    rank = len(operands[0].shape)
    sizes = [max(operand.shape[dim] for operand in operands) for dim in range(rank)]
    mapped = frozenset[int]().union(*map(dims_of, maps))
    rest = math.prod(size for dim, size in enumerate(sizes) if dim not in mapped)
    return summed_over(coupling, maps, summed, heads, operands), costs_of(where, rest, maps)


def summed_over(
    coupling: Coupling, maps: Sequence[LabelMap], summed: set[int], heads: bool = False, operands: Sequence[Value] = ()
) -> tuple[LabelMap, ...]:
    """What a sum over the dimensions `summed` leaves of the maps of its terms; `heads` as for `contract`.

    Queries that share keys, those of a group of heads, leave one label for all of them.
    """
    kept = [labels for labels in maps if not dims_of(labels) & summed]
    left: list[LabelMap] = []
    for labels in maps:
        if heads and dims_of(labels) - summed and dims_of(labels) & summed:
            grouped = {
                dim
                for operand in operands
                for other in operand.maps
                if dims_of(other) & summed and dims_of(other) - summed and dims_of(other) < dims_of(labels)
                for dim in dims_of(labels) - dims_of(other)
            }
            left += heads_left(coupling, labels, summed | grouped, [*kept, *left])
    return (*_crossed(coupling, kept), *left)


def heads_left(coupling: Coupling, labels: LabelMap, dims: set[int], kept: Sequence[LabelMap]) -> list[LabelMap]:
    """A map of the heads whose dimensions lie along `dims`, which go; none where a finer one of the heads is `kept`."""
    heads = coupling.heads_of(labels, dims)
    finer = [one for one in kept if dims_of(one) & dims_of(heads)]
    for one in finer:
        coupling.block(heads, one)
    return [] if finer else [heads]


def costs_of(where: str, factor: float, maps: Sequence[LabelMap]) -> list[Cost]:
    """What `factor` times the elements of all maps together cost; of maps over the same heads, head by head."""
    shared = {dim for one, two in combinations(maps, 2) for dim in dims_of(one) & dims_of(two)}
    if not shared:
        return [Cost(where, factor, tuple(maps))]
    dim = min(shared)
    return [
        cost
        for index in range(max(labels.shape[dim] for labels in maps))
        for cost in costs_of(where, factor, [m.narrow(dim, index, 1) if m.shape[dim] > 1 else m for m in maps])
    ]


def _crossed(coupling: Coupling, maps: Sequence[LabelMap]) -> tuple[LabelMap, ...]:
    """The maps with one over heads and dimensions in place of one over heads and one over dimensions that they share.

    Each head makes its own of what comes of shared values.
    """
    heads = [labels for labels in maps if len(dims_of(labels)) == 1 and coupling.is_heads(labels)]
    dims = [labels for labels in maps if len(dims_of(labels)) == 1 and not coupling.is_heads(labels)]
    if len(heads) != 1 or len(dims) != 1 or len(maps) != 2 or max(dims_of(dims[0])) < max(dims_of(heads[0])):
        return tuple(maps)
    fine = coupling.fresh(heads[0].numel() * dims[0].numel()).reshape((heads[0] + dims[0]).shape)
    coupling.block(heads[0], fine)
    coupling.couple(fine, dims[0], across=True)
    return (fine,)
