"""How far graphs may be from PyTorch: the part of a recipe under `export.parity`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from secateur.core.errors import RecipeError
from secateur.core.options import check_fields
from secateur.core.ranges import Range
from secateur.export.precision import TOLERANCES

Share = Annotated[float, Range(0, 1, strict=True)]


@dataclass(frozen=True)
class ToleranceSpec:
    """For graphs of each precision, the largest difference from PyTorch's outputs, as a share of their scale.

    The scale of an output is its largest absolute value over the batch.

    >>> from secateur.export.tolerances import ToleranceSpec
    >>> ToleranceSpec(fp16=0.05).of("fp16")
    0.05
    """

    fp32: Share = TOLERANCES["fp32"]
    """How far outputs of graphs in fp32 may be from PyTorch's, as a share of their largest absolute value."""
    fp16: Share = TOLERANCES["fp16"]
    """The same of graphs in fp16."""
    bf16: Share = TOLERANCES["bf16"]
    """The same of graphs in bf16."""
    int8: Share = TOLERANCES["int8"]
    """The same of graphs in int8, on calibration images that calibrated nothing."""
    fp8: Share = TOLERANCES["fp8"]
    """The same of graphs in fp8, on calibration images that calibrated nothing."""

    def __post_init__(self) -> None:
        check_fields(self, "export.parity", RecipeError)

    def of(self, precision: str) -> float:
        """The tolerance of a precision, by its name."""
        tolerance: float = getattr(self, precision)
        return tolerance
