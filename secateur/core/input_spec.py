"""The shapes of a model's inputs for one sample, as they are kept with its groups and plans."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from secateur.core.errors import ModelError
from secateur.core.model_inputs import arguments, has_batch, map_tensors, samples_of

FLOAT = "float"
"""The floating-point type of the model, whatever that is."""
Draw = Callable[[Sequence[int], torch.Generator], Tensor]
"""What makes floating-point values of a shape."""


@dataclass(frozen=True)
class TensorSpec:
    """One tensor of the inputs: the `shape` of one sample, or the whole one where it has no row for each (`batched`).

    Whole numbers, truth values, and single numbers have a `dtype` and were between `low` and `high`.
    """

    shape: tuple[int, ...]
    dtype: str = FLOAT
    low: float = 0
    high: float = 0
    batched: bool = True

    @staticmethod
    def of(tensor: Tensor, samples: int) -> TensorSpec:
        """The record of a tensor in a batch of so many `samples`."""
        batched = has_batch(tensor, samples)
        shape = tuple(tensor.shape[1:] if batched else tensor.shape)
        if tensor.is_complex():
            raise ModelError("an input of the model is complex, but floating-point and whole numbers only can be drawn")
        if tensor.is_floating_point() and tensor.ndim:
            return TensorSpec(shape, batched=batched)
        dtype = FLOAT if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")
        low, high = (float(end) for end in tensor.detach().double().aminmax()) if tensor.numel() else (0.0, 0.0)
        return TensorSpec(shape, dtype, low, high, batched)

    def draw(self, batch: int, generator: torch.Generator, dtype: torch.dtype, normal: Draw) -> Tensor:
        """Seeded values: floating-point ones by `normal`, others evenly from what there was."""
        shape = (batch, *self.shape) if self.batched else self.shape
        if self.dtype != FLOAT:
            whole = torch.randint(int(self.low), int(self.high) + 1, shape, generator=generator)
            return whole.to(getattr(torch, self.dtype))
        if not shape:
            return torch.tensor(self.low, dtype=dtype)
        return normal(shape, generator).to(dtype)


@dataclass(frozen=True)
class InputSpec:
    """What a model is called with: `ModelInputs` with a `TensorSpec` in the place of every tensor.

    >>> from secateur.core.input_spec import InputSpec
    >>> spec = InputSpec.of({"pixels": torch.zeros(2, 3, 16, 16), "ids": torch.tensor([[1, 7], [3, 9]])})
    >>> {name: tuple(tensor.shape) for name, tensor in spec.draw(5).items()}
    {'pixels': (5, 3, 16, 16), 'ids': (5, 2)}
    """

    tree: Any

    @staticmethod
    def of(example: Any) -> InputSpec:
        """The record of an example; raises `ModelError` for what is no input of a model (see `ModelInputs`)."""
        arguments(example)
        samples = samples_of(example)
        tree = map_tensors(lambda tensor: TensorSpec.of(tensor, samples), example)
        _to_json(tree)
        return InputSpec(tree)

    @staticmethod
    def shaped(shape: Sequence[int]) -> InputSpec:
        """The record of one floating-point tensor of which a sample has that shape."""
        return InputSpec(TensorSpec(tuple(shape)))

    @property
    def tensors(self) -> list[TensorSpec]:
        """The records of all tensors, in order."""
        return list(_leaves(self.tree))

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The shape of one sample where the model takes one floating-point tensor alone."""
        plain = isinstance(self.tree, TensorSpec) and self.tree == TensorSpec(self.tree.shape)
        return self.tree.shape if plain else None

    @property
    def without_values(self) -> InputSpec:
        """The record without what whole and single numbers were: equal for all inputs of these shapes and types."""
        return InputSpec(_filled(self.tree, lambda tensor: replace(tensor, low=0, high=0)))

    @property
    def numbers(self) -> int:
        """How many numbers one sample has."""
        return sum(torch.Size(tensor.shape).numel() for tensor in self.tensors if tensor.batched)

    def draw(
        self,
        batch: int = 1,
        seed: int = 0,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        normal: Draw = lambda shape, generator: torch.randn(*shape, generator=generator),
    ) -> Any:
        """Seeded inputs of `batch` samples, floating-point ones as `dtype`, normally distributed by default."""
        generator = torch.Generator().manual_seed(seed)
        return _filled(self.tree, lambda tensor: tensor.draw(batch, generator, dtype, normal).to(device))

    def to_json(self) -> Any:
        """Plain JSON values: the shape alone where that says all."""
        return _to_json(self.tree) if self.shape is None else list(self.shape)

    @staticmethod
    def from_json(content: Any) -> InputSpec:
        """What `to_json` wrote; raises ValueError, TypeError or KeyError for anything else."""
        if isinstance(content, list):
            return InputSpec.shaped([int(size) for size in content])
        tree = _from_json(content)
        if not any(True for _ in _leaves(tree)):
            raise ValueError("inputs without a tensor")
        return InputSpec(tree)

    def __str__(self) -> str:
        return _text(self.tree)


def _leaves(tree: Any) -> Iterator[TensorSpec]:
    if isinstance(tree, TensorSpec):
        yield tree
    elif isinstance(tree, Mapping | tuple | list):
        for member in tree.values() if isinstance(tree, Mapping) else tree:
            yield from _leaves(member)


def _filled(tree: Any, fill: Callable[[TensorSpec], Any]) -> Any:
    if isinstance(tree, TensorSpec):
        return fill(tree)
    if isinstance(tree, Mapping):
        return {key: _filled(member, fill) for key, member in tree.items()}
    if isinstance(tree, tuple | list):
        mapped = [_filled(member, fill) for member in tree]
        return type(tree)(*mapped) if hasattr(tree, "_fields") else type(tree)(mapped)
    return tree


def _to_json(tree: Any) -> Any:
    if isinstance(tree, TensorSpec):
        return {"tensor": {**asdict(tree), "shape": list(tree.shape)}}
    if isinstance(tree, Mapping):
        return {"keywords": {str(key): _to_json(member) for key, member in tree.items()}}
    if isinstance(tree, tuple | list):
        return {"list" if isinstance(tree, list) else "tuple": [_to_json(member) for member in tree]}
    if tree is None or isinstance(tree, bool | int | float | str):
        return {"value": tree}
    raise ModelError(
        f"an input of the model is a {type(tree).__name__}, but tensors, None, numbers, words, and tuples, lists and "
        "dictionaries of them can be kept: let the model take tensors"
    )


def _from_json(content: Any) -> Any:
    ((kind, value),) = content.items()
    if kind == "tensor":
        return TensorSpec(**{**value, "shape": tuple(int(size) for size in value["shape"])})
    if kind == "keywords":
        return {key: _from_json(member) for key, member in value.items()}
    if kind in ("tuple", "list"):
        return (tuple if kind == "tuple" else list)(_from_json(member) for member in value)
    if kind == "value":
        return value
    raise ValueError(f"an input of kind {kind!r}")


def _text(tree: Any) -> str:
    if isinstance(tree, TensorSpec):
        return f"{tree.dtype} {['batch', *tree.shape] if tree.batched else list(tree.shape)}".replace("'", "")
    if isinstance(tree, Mapping):
        return "{" + ", ".join(f"{key}: {_text(member)}" for key, member in tree.items()) + "}"
    if isinstance(tree, tuple | list):
        return "(" + ", ".join(map(_text, tree)) + ")"
    return repr(tree)
