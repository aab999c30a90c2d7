"""What a model is for: the part of a recipe under `task`, a name alone or a section with a task's options."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from secateur.core.errors import PlanError, RecipeError, naming
from secateur.core.options import options_of
from secateur.pipeline.tasks.task import TASKS, Task


@dataclass(frozen=True)
class TaskSpec:
    """A task by its name, with its options: `task: classify`, or `task: {name: custom, loss: mine.losses:focal, ...}`.

    `loss`, `metric`, `decode` and `output` are import paths of functions (`package.module:function`), `labels` is the
    kind of labels, `higher_is_better` says of a metric which way is better; which of them a task takes is said by its
    class. Raises `RecipeError` for a task that there is not, and for an option that is missing or that the task does
    not take.
    """

    name: str = "classify"
    loss: str | None = None
    metric: str | None = None
    decode: str | None = None
    output: str | None = None
    labels: str | None = None
    higher_is_better: bool | None = None

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
