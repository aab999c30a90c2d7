"""What a model is called with and gives back: one tensor, several by position or by keyword, and nests of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from secateur.core.errors import DataError, ModelError

ModelInputs: TypeAlias = Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any]
"""A model's inputs: a tensor, a tuple of what goes in by position, or a mapping of what goes in by keyword.

Each may hold tensors, nests of them, None, numbers and words. A model of one input that is a list takes `([...],)`.
"""


def call(model: nn.Module, inputs: ModelInputs) -> Any:
    """What the model returns for its inputs; raises `ModelError` for a value that is none (see `ModelInputs`)."""
    args, kwargs = arguments(inputs)
    return model(*args, **kwargs)


def arguments(inputs: ModelInputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The positional and the keyword arguments of a call."""
    if isinstance(inputs, Tensor):
        return (inputs,), {}
    if isinstance(inputs, Mapping) and all(isinstance(key, str) for key in inputs):
        return (), dict(inputs)
    if isinstance(inputs, tuple | list) and inputs:
        return tuple(inputs), {}
    what = f"an empty {type(inputs).__name__}" if isinstance(inputs, tuple | list) else f"a {type(inputs).__name__}"
    raise ModelError(
        f"the input of a model is {what}, but a tensor is needed, a tuple of what goes in by position, or a dictionary "
        "of what goes in by keyword"
    )


def members(value: object) -> dict[str, Any] | None:
    """What a mapping, tuple, list or dataclass holds, by key, field or place; None for everything else."""
    if isinstance(value, Mapping):
        return {str(key): member for key, member in value.items()}
    if isinstance(value, tuple | list):
        names = getattr(value, "_fields", None) or map(str, range(len(value)))
        return dict(zip(names, value, strict=True))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return None


def tensors_in(value: object) -> list[Tensor]:
    """All tensors in what goes into a model or comes out of it, whatever holds them."""
    if isinstance(value, Tensor):
        return [value]
    held = members(value)
    if held is None:
        return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
    return [tensor for member in held.values() for tensor in tensors_in(member)]


def map_tensors(function: Callable[[Tensor], Any], inputs: Any) -> Any:
    """The inputs with `function` of each tensor in its place; mappings of any class become dictionaries."""
    if isinstance(inputs, Tensor):
        return function(inputs)
    if isinstance(inputs, Mapping):
        return {key: map_tensors(function, member) for key, member in inputs.items()}
    if isinstance(inputs, tuple | list):
        mapped = [map_tensors(function, member) for member in inputs]
        named = isinstance(inputs, tuple) and hasattr(inputs, "_fields")
        return type(inputs)(*mapped) if named else type(inputs)(mapped)
    return inputs


def samples_of(inputs: ModelInputs) -> int:
    """How many samples a batch holds: the length of its first tensor. Raises `DataError` where there is none."""
    for tensor in tensors_in(inputs):
        if tensor.ndim:
            return len(tensor)
    raise DataError("the inputs hold no tensor with a batch dimension: give tensors [batch, ...]")


def has_batch(tensor: Tensor, samples: int) -> bool:
    """Whether a tensor of a batch has a row for each sample; others, such as a table of positions, go in whole."""
    return tensor.ndim > 0 and len(tensor) == samples


def chosen(inputs: Any, rows: slice | Tensor) -> Any:
    """The inputs of some samples of a batch."""
    samples = samples_of(inputs)
    return map_tensors(lambda tensor: tensor[rows] if has_batch(tensor, samples) else tensor, inputs)


def joined(batches: Sequence[Any]) -> Any:
    """One batch of the samples of several, one after another."""
    if len(batches) == 1:
        return batches[0]
    rows = [iter(_rows(batch)) for batch in batches]
    samples = samples_of(batches[0])
    return map_tensors(lambda tensor: _joined(tensor, samples, rows), batches[0])


def moved(inputs: Any, device: torch.device, dtype: torch.dtype | None = None) -> Any:
    """The inputs on a device; floating-point tensors as `dtype`, if one is given."""
    return map_tensors(
        lambda tensor: tensor.to(device, dtype if tensor.is_floating_point() else None),
        inputs,
    )


def asking(inputs: Any, device: torch.device) -> Any:
    """The inputs on a device, apart from the graph that they came from; floating-point ones ask for gradients."""
    return map_tensors(
        lambda tensor: tensor.detach().to(device).requires_grad_(tensor.is_floating_point()),
        inputs,
    )


def _rows(batch: Any) -> list[Tensor]:
    found: list[Tensor] = []
    map_tensors(found.append, batch)
    return found


def _joined(tensor: Tensor, samples: int, rows: Sequence[Iterator[Tensor]]) -> Tensor:
    parts = [next(row) for row in rows]
    return torch.cat(parts) if has_batch(tensor, samples) else tensor


def flatten(model: nn.Module, example: ModelInputs) -> None:
    """Makes a model take the tensors of inputs like `example` one by one, and return a tuple of tensors, by hooks.

    That is for tracers that know of positional tensors only; give a copy of the model, whose hooks do not matter.
    """

    def before(_module: nn.Module, args: tuple[Any, ...], _kwargs: dict[str, Any]) -> Any:
        rows = iter(args)
        return arguments(map_tensors(lambda _: next(rows), example))

    def after(_module: nn.Module, _args: Any, outputs: Any) -> tuple[Tensor, ...]:
        return tuple(tensors_in(outputs))

    model.register_forward_pre_hook(before, with_kwargs=True)
    model.register_forward_hook(after)
