"""The 8-bit number formats: their numbers, and arrays in them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from secateur.export.half.narrow import rounded

if TYPE_CHECKING:
    import onnx_ir as ir

Word = Literal["int8", "fp8"]
WORDS: tuple[Word, ...] = get_args(Word)


@dataclass(frozen=True)
class Format:
    """A symmetric format of 8 bits whose largest number is `most`; a scale times a number is a value.

    int8 goes from -127 to 127 (-128 is left out, so that a weight and its negative are alike), fp8 is E4M3 without
    infinities (Micikevicius et al., 2209.05433). `unsigned` int8 goes from 0 to 255, stored less 128. Scales are
    numbers of `rest`, the type of what is scaled, so that nothing is lost when they are written in it.
    """

    word: Word
    most: float
    rest: Literal["fp32", "fp16", "bf16"] = "fp32"
    unsigned: bool = False

    def without_sign(self) -> Format:
        """The format of values that are never below zero; that of int8 has twice as many numbers for them."""
        return replace(self, most=255.0, unsigned=True) if self.word == "int8" else self

    @property
    def zero(self) -> int:
        """The stored number that stands for zero."""
        return -128 if self.unsigned else 0

    def scale(self, reach: Any) -> NDArray[np.float32]:
        """The scales of values that reach as far as `reach`; 1 for nothing but zeros."""
        far = np.asarray(reach, dtype=np.float32)
        least = np.finfo(np.float32).tiny
        found = np.where(far > 0, np.maximum(far / np.float32(self.most), least), 1).astype(np.float32)
        if self.rest == "fp32":
            return found
        near = rounded(found, self.rest)
        up = np.where(near.astype(np.float32) < found, np.nextafter(near, near.dtype.type(np.inf)), near)
        return np.where(np.isfinite(up), up, found).astype(np.float32)  # beyond the type, what is scaled is so too

    def encode(self, values: NDArray[Any], scale: Any) -> NDArray[Any]:
        """The numbers of this format nearest to `values / scale`, in its own element type."""
        parts = np.clip(np.asarray(values, np.float32) / scale, 0 if self.unsigned else -self.most, self.most)
        if self.word == "int8":
            return np.asarray((np.rint(parts) + self.zero).astype(np.int8))
        import ml_dtypes

        return np.asarray(parts.astype(ml_dtypes.float8_e4m3fn))

    def round(self, values: NDArray[Any], reach: Any) -> NDArray[Any]:
        """The values that the format has for `values`, when it reaches as far as `reach`."""
        scale = self.scale(reach)
        return np.asarray((self.encode(values, scale).astype(np.float32) - self.zero) * scale)

    @property
    def element(self) -> ir.DataType:
        """Its element type in ONNX."""
        import onnx_ir as ir

        return ir.DataType.INT8 if self.word == "int8" else ir.DataType.FLOAT8E4M3FN


FORMATS: dict[str, Format] = {"int8": Format("int8", 127.0), "fp8": Format("fp8", 448.0)}
