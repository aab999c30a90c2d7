"""Planted mistakes of surgery: readers that take other units than they should, which a comparison has to notice."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from secateur.pipeline.structure.cutting import tensor_named
from secateur.pipeline.structure.groups import READS, Group, Groups, Slice
from secateur.pipeline.structure.outputs import scale_of
from secateur.pipeline.structure.plan import Plan


@dataclass(frozen=True)
class WrongReader:
    """A tensor of a small model that reads the units of a group, and the order in which it reads them by mistake.

    Position `p` of dimension `dim` takes what belongs at `order[p]`. Where there are no two units to be mistaken for
    one another, `order` is None and the tensor changes its sign.
    """

    tensor: str
    dim: int
    order: Tensor | None

    def applied(self, tensor: Tensor) -> Tensor:
        """The tensor with the mistake."""
        return -tensor if self.order is None else tensor.index_select(self.dim, self.order.to(tensor.device))


def wrong_readers(groups: Groups, group: Group, plan: Plan, small: nn.Module) -> tuple[WrongReader, ...]:
    """The readers of a group in a small model, each with its units rolled by one among those that stay.

    Of a tensor that also makes them, which would only number them anew, the first is taken twice and the last is lost.
    Units that no tensor reads, as query and key dimensions, are rolled where they are made, once. A branch without
    units is read as a constant, by its bias. Empty where nothing is left that could be wrong.
    """
    here = dict([*small.named_parameters(), *small.named_buffers()])
    readers = [part for part in group.slices if part.role in READS]
    found = [_rolled(groups, part, plan, once=False) for part in readers if part.tensor in here]
    if not readers:
        makers = [part for part in group.slices if part.role == "out" and part.tensor in here]
        found = [_rolled(groups, part, plan, once=True) for part in makers[:1]]
    alive = tuple(wrong for wrong in found if wrong is not None)
    if alive:
        return alive
    biases = dict.fromkeys(f"{part.tensor.removesuffix('.weight')}.bias" for part in readers)
    return tuple(WrongReader(name, 0, None) for name in biases if name in here)


def _rolled(groups: Groups, part: Slice, plan: Plan, once: bool) -> WrongReader | None:
    """The mistake in one dimension of a tensor; `once` takes each unit's first position only."""
    stays = groups.axes[part.tensor, part.dim].positions(plan.kept)
    units = np.asarray(part.units)[stays]
    places = np.flatnonzero(units >= 0)
    if once:
        places = places[np.sort(np.unique(units[places], return_index=True)[1])]
    if len(places) < 2:
        return WrongReader(part.tensor, part.dim, None) if len(places) else None
    order = np.arange(len(units))
    order[places] = np.roll(places, 1)
    if part.role == "tied":
        order[places[0]] = places[0]
    return WrongReader(part.tensor, part.dim, torch.from_numpy(order))


@contextmanager
def planted(small: nn.Module, wrong: Sequence[WrongReader]) -> Iterator[None]:
    """A module with mistakes in it; afterwards it is as it was."""
    right = {reader.tensor: tensor_named(small, reader.tensor).data for reader in wrong}
    try:
        for reader in wrong:
            parameter = tensor_named(small, reader.tensor)
            parameter.data = reader.applied(parameter.data)
        yield
    finally:
        for name, data in right.items():
            tensor_named(small, name).data = data


def estimated_moves(small: nn.Module, wrong: Sequence[WrongReader], outputs: Sequence[Tensor]) -> list[float]:
    """How far each mistake alone moves the outputs, to first order, relative to the outputs' scale.

    `outputs` were computed from `small` with gradients. One backward pass from a random direction of unit size serves
    all mistakes; the changes that the rows of a reader cause, which are as likely to cancel as to add up, are taken
    together as a root sum of squares. A change that is not finite counts as none.
    """
    draw = torch.Generator().manual_seed(0)
    with torch.enable_grad():
        total = torch.zeros((), dtype=torch.float64)
        for output in outputs:
            if output.requires_grad and output.numel():
                direction = torch.randn(output.shape, generator=draw).to(output) / math.sqrt(output.numel())
                total = total + (direction * output / scale_of(output)).sum().to(total)
    names = sorted({reader.tensor for reader in wrong})
    if not total.requires_grad or not names:
        return [0.0] * len(wrong)
    tensors = {name: tensor_named(small, name) for name in names}
    found = torch.autograd.grad(total, list(tensors.values()), allow_unused=True)
    gradients = dict(zip(names, found, strict=True))
    moves = []
    for reader in wrong:
        gradient, tensor = gradients[reader.tensor], tensors[reader.tensor].detach()
        change = torch.zeros(())
        if gradient is not None:
            moved = gradient * (reader.applied(tensor) - tensor)
            rows = moved if reader.order is None else moved.sum(reader.dim)
            change = torch.linalg.vector_norm(rows.reshape(len(rows), -1).sum(1))
        moves.append(float(change) if bool(change.isfinite()) else 0.0)
    return moves
