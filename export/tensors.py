"""What goes into a model, a graph or an engine and what comes out, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
