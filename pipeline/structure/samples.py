"""Where the samples lie in the tensors that layers see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Samples:
    """Where a tensor's samples lie: one after another along its dimension `dim`.

    They are not first in a sequence-first layer, `[L, B, C]`. Where other dimensions are laid into the same one, they
    lie `apart` places from each other: 1 for tokens before samples, `[L * B, C]`, and None where each sample's places
    lie together, as the windows of an image do.
    """

    dim: int = 0
    apart: int | None = None

    def first(self, tensor: Tensor, count: int) -> Tensor:
        """A tensor of `count` samples with these first, its other dimensions in their order."""
        if self == FIRST:
            return tensor
        before, after = self._around(tensor, count)
        shape = tensor.shape
        split = tensor.reshape(*shape[: self.dim], before, count, after, *shape[self.dim + 1 :])
        inner = [size for size in (before, after) if size > 1]
        return split.movedim(self.dim + 1, 0).reshape(count, *shape[: self.dim], *inner, *shape[self.dim + 1 :])

    def back(self, tensor: Tensor, like: Tensor, count: int) -> Tensor:
        """The tensor `like` again, from what `first` has made of it."""
        if self == FIRST:
            return tensor
        before, after = self._around(like, count)
        shape = like.shape
        split = tensor.reshape(count, *shape[: self.dim], before, after, *shape[self.dim + 1 :])
        return split.movedim(0, self.dim + 1).reshape(shape)

    def _around(self, tensor: Tensor, count: int) -> tuple[int, int]:
        """How many blocks of samples there are, and how many places each sample has in one."""
        size = tensor.shape[self.dim]
        return (1, size // count) if self.apart is None else (size // (count * self.apart), self.apart)


FIRST = Samples()
"""The first dimension is that of the samples."""
