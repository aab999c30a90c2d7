"""What goes into a model, a graph or an engine and what comes out, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from secateur.core.errors import ExportError

if TYPE_CHECKING:
    from torch import Tensor

DYNAMIC = -1
"""The size of a dimension that is chosen at run time: the batch."""


@dataclass(frozen=True)
class TensorInfo:
    """One input or output: its name, its numpy dtype by name (`float32`), its shape with -1 where it is dynamic."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @staticmethod
    def from_json(content: Mapping[str, object]) -> TensorInfo:
        """A `TensorInfo` from the values that JSON gives back; raises KeyError, TypeError or ValueError for others."""
        shape = content["shape"]
        if not isinstance(shape, list):
            raise TypeError(f"a shape is a list of numbers, not {shape!r}")
        return TensorInfo(str(content["name"]), str(content["dtype"]), tuple(int(size) for size in shape))

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """True where an array of `shape` fits."""
        return len(shape) == len(self.shape) and all(
            wanted in (size, DYNAMIC) for size, wanted in zip(shape, self.shape, strict=True)
        )

    def __str__(self) -> str:
        sizes = ", ".join("batch" if size == DYNAMIC else str(size) for size in self.shape)
        return f"{self.name} {self.dtype} [{sizes}]"


def flat_outputs(value: object, name: str = "") -> dict[str, Tensor]:
    """The tensors of a model's return value by name, in a fixed order.

    A single tensor is `logits`; the members of a tuple or list are `output_0`, `output_1`, ..., those of a mapping
    are named by their keys; nested names are joined by `_`. Raises `ExportError` for values that are no tensors.
    """
    from torch import Tensor  # what only describes engines does without

    if isinstance(value, Tensor):
        return {name or "logits": value}
    if isinstance(value, Mapping):
        parts = {f"{name}_{key}" if name else str(key): member for key, member in value.items()}
    elif isinstance(value, tuple | list) and value:
        parts = {f"{name or 'output'}_{index}": member for index, member in enumerate(value)}
    else:
        raise ExportError(
            f"the model returns {type(value).__name__} for {name or 'its output'}, but only tensors, and tuples, lists "
            "and mappings of tensors can be exported: wrap the model in a module that returns tensors"
        )
    return {key: tensor for part, member in parts.items() for key, tensor in flat_outputs(member, part).items()}
