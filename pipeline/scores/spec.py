"""How units are scored: the part of a recipe under `score`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from secateur.core.errors import RecipeError, naming
from secateur.core.options import check_fields
from secateur.core.ranges import Range
from secateur.pipeline.scores.registry import DEFAULT, ScoreMethod, method_of


@dataclass(frozen=True)
class ScoreSpec:
    """How units are scored: by `method` with its `options`, on `samples_per_class` calibration images of each class.

    0 samples are all images. Raises `PlanError` for an unknown method or option, `RecipeError` for another bad value.
    """

    method: str = DEFAULT
    """How units are scored: `obs`, `taylor`, `lrp`, `xmask`, `magnitude` or another registered method."""
    samples_per_class: Annotated[int, Range(0)] = 10
    """How many calibration images of each class units are scored on; 0 for all."""
    batch_size: Annotated[int, Range(1)] = 32
    """How many images go through the model at a time."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the method; each method has its own."""

    def __post_init__(self) -> None:
        check_fields(self, "score", RecipeError)
        self.made()

    def made(self) -> ScoreMethod:
        """The method with its options."""
        with naming("score"):
            return method_of(self.method, self.options)
