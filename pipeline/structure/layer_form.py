"""Products of two tensors seen as linear layers: which dimensions of the weight are read, which are made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class WeightView:
    """A matrix `[out, in]` within a tensor: numbers from `offset` on, `sizes` with `strides`, the first `rows` made.

    So are the queries' rows of a packed projection, or a weight `[in, out]` that is handed on the other way round.
    """

    offset: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    rows: int

    @property
    def shape(self) -> tuple[int, int]:
        """How many rows and columns the matrix has."""
        return math.prod(self.sizes[: self.rows]), math.prod(self.sizes[self.rows :])

    def of(self, tensor: Tensor) -> Tensor:
        """The matrix `[out, in]` of a tensor."""
        start = tensor.storage_offset() + self.offset
        return tensor.as_strided(self.sizes, self.strides, start).reshape(self.shape)

    def __str__(self) -> str:
        """How messages name it: its shape, and where it starts."""
        return f"{self.shape[0]}x{self.shape[1]} from {self.offset}"


@dataclass(frozen=True)
class LayerForm:
    """How a product is a linear layer: orders of dimensions of its input, weight and result, and which are kept.

    The input `[..., columns]` is the product's in the order `inputs`, its last `columns` dimensions in one; the weight
    `[rows, columns]` has the order `weight`, after dimensions `dropped` along which all its numbers are alike; and the
    product's result is the layer's `[..., rows]` in the order `result`.
    """

    inputs: tuple[int, ...]
    weight: tuple[int, ...]
    result: tuple[int, ...]
    rows: int
    columns: int
    dropped: tuple[int, ...]

    def ordered(self, weight: Tensor) -> Tensor:
        """The weight, those dimensions first that it makes, then those that it reads."""
        for dim in reversed(self.dropped):
            weight = weight.select(dim, 0)
        return weight.permute(self.weight)

    def arranged(self, weight: Tensor) -> tuple[Tensor, int]:
        """The same as a matrix where it lies so in memory, and how many of its dimensions are rows."""
        found = self.ordered(weight)
        sizes, strides = list(found.shape), list(found.stride())
        rows = self.rows
        for dim in range(found.ndim - 2, -1, -1):
            if dim + 1 != rows and strides[dim] == sizes[dim + 1] * strides[dim + 1]:
                sizes[dim : dim + 2], strides[dim : dim + 2] = [sizes[dim] * sizes[dim + 1]], [strides[dim + 1]]
                rows -= dim + 1 < rows
        return found.as_strided(sizes, strides), rows

    def view(self, weight: Tensor, parameter: Tensor) -> WeightView:
        """Where in a parameter the weight is, which is a view of it."""
        found, rows = self.arranged(weight)
        start = int(found.storage_offset()) - int(parameter.storage_offset())
        return WeightView(start, tuple(found.shape), tuple(found.stride()), rows)

    def read(self, x: Tensor) -> Tensor:
        """The layer's input `[..., columns]`."""
        return x.permute(self.inputs).flatten(x.ndim - self.columns)

    def matrix(self, weight: Tensor) -> Tensor:
        """The layer's weight `[rows, columns]`."""
        found = self.ordered(weight)
        return found.reshape(math.prod(found.shape[: self.rows]), -1)

    def made(self, y: Tensor, weight: Tensor) -> Tensor:
        """The product's result, from the layer's."""
        return y.reshape(*y.shape[:-1], *self.ordered(weight).shape[: self.rows]).permute(self.result)

    def samples_at(self, dim: int) -> int | None:
        """Where a dimension of the product's input is in the layer's; None where it is one that the layer reads."""
        place = self.inputs.index(dim)
        return place if place < len(self.inputs) - self.columns else None


def layer_form(
    x: Sequence[str], weight: Sequence[str], result: Sequence[str], alike: Sequence[int] = ()
) -> LayerForm | None:
    """How a product is a linear layer, its dimensions given by labels; None where it is none.

    It is none when a dimension of the weight goes along with one of the input, as in a product of a matrix for each
    sample, unless all numbers are `alike` along that dimension.
    """
    dropped = tuple(dim for dim, label in enumerate(weight) if dim in alike and label in x and label in result)
    kept = [label for dim, label in enumerate(weight) if dim not in dropped]
    rows = [label for label in kept if label in result]
    columns = [label for label in kept if label not in result]
    others = [label for label in x if label not in columns]
    order, made = others + columns, others + rows
    if not rows or not columns or {*rows} & {*x} or not {*columns} <= {*x} or sorted(made) != sorted(result):
        return None
    if len({*order}) < len(order) or len({*kept}) < len(kept):
        return None  # a diagonal
    return LayerForm(
        inputs=tuple(x.index(label) for label in order),
        weight=tuple(kept.index(label) for label in rows + columns),
        result=tuple(made.index(label) for label in result),
        rows=len(rows),
        columns=len(columns),
        dropped=dropped,
    )


def product_labels(one: int, two: int, linear: bool = False) -> tuple[list[str], list[str], list[str]]:
    """The labels of the dimensions of a matrix product of tensors of ranks `one` and `two`, and of its result.

    Of a `linear` layer the second is `[out, in]`.
    """
    batch = [f"<{place}>" for place in range(max(one, two) - 2, 0, -1)]
    first, second = ([*batch[len(batch) - (rank - 2) :]] for rank in (one, two))
    if linear:
        return [*batch, "r", "s"][-one:], ["c", "s"], [*batch, "r", "c"][-one:]
    return [*first, "r", "s"], [*second, "s", "c"], [*batch, "r", "c"]


def tensordot_labels(
    one: int, two: int, first: Sequence[int], second: Sequence[int]
) -> tuple[list[str], list[str], list[str]]:
    """The labels of a sum over the dimensions `first` and `second` of tensors of ranks `one` and `two`."""
    operands = []
    for place, (rank, dims) in enumerate(((one, first), (two, second))):
        summed = [dim % rank for dim in dims]
        operands.append([f"s{summed.index(dim)}" if dim in summed else f"{place}:{dim}" for dim in range(rank)])
    result = [label for labels in operands for label in labels if not label.startswith("s")]
    return operands[0], operands[1], result


def alike_along(weight: Tensor) -> list[int]:
    """The dimensions of a tensor along which all its numbers are one in memory."""
    return [dim for dim, size in enumerate(weight.shape) if size == 1 or weight.stride(dim) == 0]
