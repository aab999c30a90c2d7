"""What goes into a model, a graph or an engine and what comes out, by name."""

from __future__ import annotations

from dataclasses import dataclass

DYNAMIC = -1
"""The size of a dimension that is chosen at run time: the batch."""


@dataclass(frozen=True)
class TensorInfo:
    """One input or output: its name, its numpy dtype by name (`float32`), its shape with -1 where it is dynamic."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """True where an array of `shape` fits."""
        return len(shape) == len(self.shape) and all(
            wanted in (size, DYNAMIC) for size, wanted in zip(shape, self.shape)
        )

    def __str__(self) -> str:
        sizes = ", ".join("batch" if size == DYNAMIC else str(size) for size in self.shape)
        return f"{self.name} {self.dtype} [{sizes}]"
