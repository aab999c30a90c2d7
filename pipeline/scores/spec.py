"""How units are scored: the part of a recipe under `score`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from torch import Tensor

from secateur.core.errors import RecipeError, naming
from secateur.core.import_path import is_import_path
from secateur.core.options import check_fields
from secateur.core.ranges import Range
from secateur.pipeline.scores.explained import ByLoss
from secateur.pipeline.scores.registry import DEFAULT, ScoreMethod, TaskMethod, method_of
from secateur.pipeline.tasks.own import own_loss
from secateur.pipeline.tasks.task import Task


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
    loss: str | None = None
    """The import path of `loss(outputs, labels)`, the mean loss of a batch or that of each image, whose change scores
    units where `method` looks at a loss, as `taylor` does; null: the loss of the task.
    """

    def __post_init__(self) -> None:
        check_fields(self, "score", RecipeError)
        made = self.made()
        if self.loss is None:
            return
        if not is_import_path(self.loss):
            raise RecipeError(
                f"score.loss is {self.loss!r}, but must be the import path of a function, such as mine.losses:focal"
            )
        if not isinstance(made, TaskMethod) or made.draws_labels:
            raise RecipeError(
                f"score.loss is {self.loss}, but score.method is {self.method}, which looks at no loss: set it to "
                "taylor, or leave score.loss out"
            )

    def made(self) -> ScoreMethod:
        """The method with its options."""
        with naming("score"):
            return method_of(self.method, self.options)

    def explained(self, task: Task) -> Task:
        """What a model of the task is scored by: the task itself, or the loss of the user's own."""
        return task if self.loss is None else ByLoss(self._own_loss)

    @property
    def told(self) -> str:
        """The method in words, with the loss that it looks at where the user has one."""
        return self.method if self.loss is None else f"{self.method} of {self.loss}"

    def _own_loss(self, outputs: Any, labels: Any) -> Tensor:
        assert self.loss is not None  # for the type checker: `explained` asks for it
        return own_loss(self.loss, outputs, labels, "score.loss").mean()
