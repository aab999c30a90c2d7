"""What remains of the sizes that the code of a module repeats, operation by operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from secateur.pipeline.structure.codegen.calls import CodeError
from secateur.pipeline.structure.graph.value import Value, dims_of
from secateur.pipeline.structure.module_attributes import drops_groups


@dataclass(frozen=True, eq=False)
class Sizes:
    """The sizes of all values in the code of `module`, with only the components `alive`."""

    module: str
    values: Mapping[fx.Node, Any]
    components: NDArray[np.int64]
    alive: Tensor

    def stays(self, labels: Tensor) -> Tensor:
        """A mask of a map's elements, True where they stay."""
        return self.alive[torch.from_numpy(self.components)[labels]]

    def of(self, value: Value) -> list[int]:
        """The lengths of a tensor's dimensions; raises `CodeError` where its slices would differ in size."""
        sizes = list(value.shape)
        for labels in value.maps:
            stays = self.stays(labels)
            if bool(stays.all()):
                continue
            for dim in sorted(dims_of(labels), reverse=True):
                counts = stays.sum(dim, keepdim=True)
                left = set(counts[counts > 0].tolist())
                if len(left) > 1:
                    raise CodeError(self.module, "it computes heads of one width only")
                sizes[dim] = left.pop() if left else 0
                stays = counts > 0
        return sizes

    def slice(self, value: Value, dim: int, index: int) -> list[int]:
        """The lengths of one slice of a tensor, itself kept as a dimension of length 1."""
        maps = tuple(labels.narrow(dim, index, 1) if labels.shape[dim] > 1 else labels for labels in value.maps)
        return self.of(Value((*value.shape[:dim], 1, *value.shape[dim + 1 :]), maps))

    def unequal(self, value: Value) -> int | None:
        """The dimension along which slices would differ in size, though each has one; None where they are equal.

        Packed projections of queries, keys and values `[B, N, 3, heads, dims]` are such a value. Raises `CodeError`
        where no dimension divides the tensor so.
        """
        try:
            self.of(value)
        except CodeError:
            for dim in sorted({dim for labels in value.maps for dim in sorted(dims_of(labels))[:-1]}):
                try:
                    for index in range(value.shape[dim]):
                        self.slice(value, dim, index)
                except CodeError:
                    continue
                return dim
            raise
        return None

    def along(self, value: Value, dim: int) -> Tensor | None:
        """A mask of the positions of one dimension that keep anything, None where all do.

        Raises `CodeError` where the dimensions that are left differ from head to head, so that no position is one.
        """
        for labels in value.on(dim):
            rows = self.stays(labels).movedim(dim, 0).flatten(1)
            columns = rows[:, rows.any(0)]
            if dim == max(dims_of(labels)) and bool((columns != columns[:, :1]).any()):
                raise CodeError(self.module, "it cuts heads at a position that differs from head to head")
            stays = rows.any(1)
            if not bool(stays.all()):
                return stays
        return None


New = tuple[Any, list[Any], dict[str, Any]] | None
Change = Callable[[Sizes, fx.Node, list[Any], dict[str, Any]], New]
"""The new target and arguments of an operation, None where they stay as they are."""


def name_of(node: fx.Node) -> str:
    """The name of an ATen operation without its overload; empty for others."""
    target = str(node.target)
    return target.split(".")[1] if target.startswith("aten.") else ""


def _reshape(sizes: Sizes, node: fx.Node, args: list[Any], kwargs: dict[str, Any]) -> New:
    new = sizes.of(sizes.values[node])
    shape = [
        size if isinstance(given, int) and given != -1 else given for given, size in zip(args[1], new, strict=True)
    ]
    return (node.target, [args[0], shape], kwargs) if shape != list(args[1]) else None


def _unflatten(sizes: Sizes, node: fx.Node, args: list[Any], kwargs: dict[str, Any]) -> New:
    dim = args[1] % len(sizes.values[args[0]].shape)
    new = sizes.of(sizes.values[node])[dim : dim + len(args[2])]
    return (node.target, [args[0], args[1], new], kwargs) if new != list(args[2]) else None


def _split(sizes: Sizes, node: fx.Node, args: list[Any], kwargs: dict[str, Any]) -> New:
    dim = (args[2] if len(args) > 2 else kwargs.get("dim", 0)) % len(sizes.values[args[0]].shape)
    parts = sizes.values[node]
    new = [sizes.of(part)[dim] for part in parts]
    if new == [part.shape[dim] for part in parts]:
        return None
    return torch.ops.aten.split_with_sizes.default, [args[0], new, dim], {}


def _slice(sizes: Sizes, node: fx.Node, args: list[Any], kwargs: dict[str, Any]) -> New:
    value = sizes.values[args[0]]
    given = dict(zip(("dim", "start", "end", "step"), args[1:], strict=False)) | kwargs
    dim = given.get("dim", 0) % len(value.shape)
    stays = sizes.along(value, dim)
    if stays is None:
        return None
    if given.get("step", 1) != 1:
        raise CodeError(sizes.module, f"it takes every {given['step']}th unit")
    first, last, _ = slice(given.get("start"), given.get("end")).indices(len(stays))
    return node.target, [args[0], dim, int(stays[:first].sum()), int(stays[:last].sum())], {}


def _select(sizes: Sizes, node: fx.Node, args: list[Any], kwargs: dict[str, Any]) -> New:
    value = sizes.values[args[0]]
    dim = args[1] % len(value.shape)
    stays = sizes.along(value, dim)
    if stays is None:
        return None
    return node.target, [args[0], dim, int(stays[: args[2] % len(stays)].sum())], kwargs


def _layer_norm(sizes: Sizes, node: fx.Node, args: list[Any], kwargs: dict[str, Any]) -> New:
    shape = sizes.of(sizes.values[node])[-len(args[1]) :]
    return (node.target, [args[0], shape, *args[2:]], kwargs) if shape != list(args[1]) else None


def _group_norm(sizes: Sizes, node: fx.Node, args: list[Any], kwargs: dict[str, Any]) -> New:
    value = sizes.values[node]
    groups = args[1] * sizes.of(value)[1] // value.shape[1] if args[1] > 1 else 1
    return (node.target, [args[0], groups, *args[2:]], kwargs) if groups != args[1] else None


def _attention(sizes: Sizes, node: fx.Node, args: list[Any], kwargs: dict[str, Any]) -> New:
    """The scale of the dense model, which would otherwise follow the new width."""
    query = sizes.values[args[0]]
    if kwargs.get("scale") is not None or sizes.of(query)[-1] == query.shape[-1]:
        return None
    return node.target, args, {**kwargs, "scale": query.shape[-1] ** -0.5}


def _convolution(sizes: Sizes, node: fx.Node, args: list[Any], kwargs: dict[str, Any]) -> New:
    """The groups of a convolution that is written as a function and loses groups."""
    groups = args[6] if len(args) > 6 else kwargs.get("groups", 1)
    value, weight = sizes.values[node], sizes.values[args[1]]
    channel = len(value.shape) - len(weight.shape) + 1
    left = groups * sizes.of(value)[channel] // value.shape[channel]
    if left == groups or not drops_groups(groups, weight.shape[1]):
        return None
    if len(args) > 6:
        return node.target, [*args[:6], left], kwargs
    return node.target, args, {**kwargs, "groups": left}


CHANGES: dict[str, Change] = {
    **dict.fromkeys(("view", "reshape", "expand"), _reshape),
    "unflatten": _unflatten,
    **dict.fromkeys(("split", "split_with_sizes", "chunk"), _split),
    "slice": _slice,
    "select": _select,
    **dict.fromkeys(("layer_norm", "rms_norm"), _layer_norm),
    "group_norm": _group_norm,
    "scaled_dot_product_attention": _attention,
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _convolution),
}
