"""The registry of score methods: a new one is one file with one decorated dataclass, whose fields are its options."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from secateur.core.errors import DataError, PlanError
from secateur.core.options import check_fields, options_of
from secateur.core.registry import Registry
from secateur.core.say import Say
from secateur.pipeline.data.loader import Batches
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.tasks.classify import Classify
from secateur.pipeline.tasks.task import Task

Scored = Mapping[str, Tensor]
"""For each group, by name, a float tensor `[units]` or `[classes, units]`; larger is more important."""


class ScoreMethod(ABC):
    """A score method with its options: a frozen dataclass, whose fields are checked when one is made (`check_fields`).

    Recipes write the fields under `score.options`. `@method("mine")` registers a method in the program that imports
    it; an installed package names it in the entry points `secateur.scores`, so that recipes find it.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Alike(sc.ScoreMethod):
    ...     "All units the same."
    ...     value: float = 1.0
    ...
    ...     def score(self, model, groups, loader, seed):
    ...         return {group.name: torch.full((group.units,), self.value) for group in groups}
    >>> sc.score(model, groups, loader, Alike(0.5)).options
    {'value': 0.5}
    """

    __pydantic_config__: ClassVar[Mapping[str, bool]] = {
        "arbitrary_types_allowed": True
    }  # an option may be of a package's own class

    def __post_init__(self) -> None:
        check_fields(self, name_of(self))

    explains: ClassVar[bool] = True
    """Whether it looks at what the model answers."""
    comparable: ClassVar[bool] = False
    """Whether its scores are losses, or masks learned against one, so that those of different groups compare."""

    @property
    def by_class(self) -> bool:
        """Whether the scores are `[classes, units]`, which needs images of one class each."""
        return False

    @abstractmethod
    def score(self, model: nn.Module, groups: Groups, loader: Batches, seed: int) -> Scored:
        """The scores of the groups; the model has to be left as it was, and `loader` may be read again and again."""


class TaskMethod(ScoreMethod):
    """A method that looks at the loss of a task, and not at one number for each image alone."""

    draws_labels: ClassVar[bool] = False
    """Whether it draws labels from the model's prediction, which a loss alone does not tell (`Task.drawn_loss`)."""

    def score(self, model: nn.Module, groups: Groups, loader: Batches, seed: int) -> Scored:
        """The scores of a classifier."""
        return self.score_for(Classify(), model, groups, loader, seed)

    @abstractmethod
    def score_for(self, task: Task, model: nn.Module, groups: Groups, loader: Batches, seed: int) -> Scored:
        """The scores for a model of the task, whose labels are what `loader` yields beside the images."""


class TrainedMethod(ScoreMethod):
    """A method that learns its scores, by all processes that a launcher started."""

    def score(self, model: nn.Module, groups: Groups, loader: Batches, seed: int) -> Scored:
        """The scores, learned in one go."""
        return self.train(model, groups, loader, seed, lambda message: None, None)

    @abstractmethod
    def train(
        self, model: nn.Module, groups: Groups, loader: Batches, seed: int, say: Say, folder: Path | None
    ) -> Scored:
        """The scores; `say` is told how far it is, and a checkpoint in `folder`, if there is one, is gone on from."""


_OURS = ("random", "magnitude", "activation", "taylor", "integrated_gradients", "obs")
METHODS: Registry[type[ScoreMethod]] = Registry(
    "score method",
    {
        **{name: f"secateur.pipeline.scores.{name}" for name in _OURS},
        **{name: f"secateur.pipeline.scores.{name}.method" for name in ("lrp", "xmask")},
    },
    "secateur.scores",
)
method = METHODS.register
DEFAULT = "obs"
"""The method where none is named: compensated, it keeps most wherever up to half goes."""


def check_images(count: float) -> None:
    """Raises `DataError` where no image was seen."""
    if not count:
        raise DataError("there are no images to score with: give a data set with at least one")


def method_of(word: str | ScoreMethod, options: Mapping[str, Any]) -> ScoreMethod:
    """The method of that name with these options, plain values as a recipe has them; a method itself is returned.

    Raises `PlanError` for an unknown name or option, with near matches, and for a value that the option does not allow.
    """
    if isinstance(word, str):
        return options_of(METHODS.find(word), options, word)
    if options:
        raise PlanError(f"{word} has its options already, but {', '.join(options)} was given too: change it instead")
    return word


def name_of(made: ScoreMethod) -> str:
    """The name that a method is registered under, or its class's own where it is not."""
    return METHODS.name_of(type(made)) or type(made).__name__
