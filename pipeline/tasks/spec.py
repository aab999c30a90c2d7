"""What a model is for: the part of a recipe under `task`, a name alone or a section with a task's options."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from secateur.core.errors import PlanError, RecipeError, naming
from secateur.core.options import options_of
from secateur.pipeline.tasks.task import TASKS, Task


@dataclass(frozen=True)
class TaskSpec:
    """A task by its name, with its options: `task: classify`, or `task: {name: custom, loss: mine.losses:focal, ...}`.

    Which options a task takes is said by its class. Raises `RecipeError` for a task that there is not, and for an
    option that is missing or that the task does not take.
    """

    name: str = "classify"
    """What the model is for: `classify`, `multilabel`, `regress`, `segment`, `detect`, `embed` or `custom`."""
    loss: str | None = None
    """The import path of `loss(outputs, labels)`, the mean loss of a batch or that of each image."""
    metric: str | None = None
    """The import path of `metric(outputs, labels)`, one number for all images together."""
    decode: str | None = None
    """The import path of what makes boxes of a detector's outputs."""
    output: str | None = None
    """The import path of `output(outputs)`, the scores `[B, K]` that explanations start from."""
    labels: str | None = None
    """The kind of labels that the data have."""
    higher_is_better: bool | None = None
    """Whether more of the metric is better."""

    def __post_init__(self) -> None:
        self.made()

    def made(self) -> Task:
        """The task with its options; the functions that it names are imported when they are first needed."""
        given = {key: value for key, value in asdict(self).items() if key != "name" and value is not None}
        try:
            with naming("task"):
                kind = TASKS.find(self.name)
            return options_of(kind, given, "task", RecipeError)
        except PlanError as error:
            raise RecipeError(str(error)) from error
