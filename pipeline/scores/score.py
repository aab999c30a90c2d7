"""Scores of all groups by one method, and their file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from secateur.core.errors import ModelError, NotFiniteError, PlanError, RunError
from secateur.core.files import write_tensors
from secateur.core.json_text import parse_json
from secateur.core.options import plain_options
from secateur.core.say import Say
from secateur.pipeline.data.loader import any_batches
from secateur.pipeline.scores.explained import ByLoss, Labelled, Loss, Output, explaining
from secateur.pipeline.scores.registry import DEFAULT, ScoreMethod, TaskMethod, TrainedMethod, method_of, name_of
from secateur.pipeline.structure.canonical import canonical
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.tasks.classify import Classify
from secateur.pipeline.tasks.task import Task, answering
from secateur.pipeline.tasks.task import name_of as task_name


@dataclass(frozen=True)
class Scores:
    """For each group, by name, `[units]` or `[classes, units]`; larger is more important.

    `options` are those of the `method` that are not its defaults.

    >>> scores.save(Path("scores.safetensors"))
    >>> sc.Scores.load(Path("scores.safetensors")).method
    'obs'
    """

    values: Mapping[str, Tensor]
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    def by_unit(self, name: str) -> Tensor:
        """The scores `[units]` of a group; classes are collapsed by the sum of absolute values (X-Pruner)."""
        values = self.values[name]
        return values.abs().sum(0) if values.ndim == 2 else values

    def save(self, path: Path) -> None:
        """Writes the scores as safetensors, with the method in the metadata."""
        about = {"schema": "secateur.scores/1", "method": self.method, "seed": self.seed, "options": dict(self.options)}
        tensors = {name: value.contiguous() for name, value in self.values.items()}
        write_tensors(path, tensors, {"secateur": json.dumps(about)})

    @staticmethod
    def load(path: Path) -> Scores:
        """The scores in a file; raises `RunError` for a file that is none."""
        try:
            with safe_open(path, "pt") as file:
                about = parse_json((file.metadata() or {}).get("secateur", "{}"))
                values = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
        except (OSError, SafetensorError, ValueError) as error:
            raise RunError(
                f"cannot read the scores in {path}: {error}; make them again with `secateur score`"
            ) from error
        if about.get("schema") != "secateur.scores/1":
            raise RunError(f"{path} has the schema {about.get('schema')!r}, but 'secateur.scores/1' is needed")
        return Scores(values, about["method"], about["options"], about["seed"])


def score(
    model: nn.Module,
    groups: Groups,
    loader: Iterable[tuple[Any, Any]],
    method: str | ScoreMethod | None = None,
    seed: int = 0,
    say: Say = lambda message: None,
    folder: Path | None = None,
    task: Task | None = None,
    output: Output | None = None,
    loss: Loss | None = None,
    **options: Any,
) -> Scores:
    """The scores of all `groups` by `method`, a name with its `options` or a method such as `Lrp(composite="gamma")`.

    Without one, that is `obs`; where a `loss` says what is explained, of which `obs` cannot know what answers the model
    holds for likely, it is `taylor`.
    The `loader` is any iterable of images (or tuples or dictionaries of inputs) and labels that can be read again.
    Explained is the logit of the label, or where labels are None that of the strongest class. What a model returns
    otherwise, `output` turns into scores `[B, classes]`; or a `loss` of the result and the labels, whatever these are,
    gives the mean over the batch. Of a model that is no classifier, `task` says what its answers and its labels mean;
    methods that look at no loss then explain the task's largest score of each image. The model is left exactly as it
    was; gradient checkpointing of timm's and transformers' kind is off meanwhile. A method that trains tells `say` how
    far it is, and keeps a checkpoint in the `folder`, from which it goes on. Raises `PlanError` for an unknown method
    or option, for a model without groups and for class-wise scores of a model that is no classifier, `NotFiniteError`
    for scores that are not finite, and `ModelError` for a model that a method cannot follow.

    >>> scores = sc.score(model, groups, loader, method="obs")
    >>> scores.values["blocks.0.mlp.hidden"].shape
    torch.Size([192])
    """
    chosen = method_of(method or (DEFAULT if loss is None else "taylor"), options)
    task = _task(chosen, task, output, loss)
    check_by_class(chosen, task)
    if not groups:
        raise PlanError("nothing can be removed from this model, so that there is nothing to score")
    classes = None if isinstance(task, ByLoss) else task.labels == "classes"
    model, batches = canonical(model), any_batches(loader, classes, unlabelled=True)
    name = name_of(chosen)
    with ExitStack() as hooks, _once(name):
        if task.classifies and chosen.explains:
            hooks.enter_context(explaining(model, output))
            batches = Labelled(model, batches)
        elif not task.classifies and not isinstance(chosen, TaskMethod | TrainedMethod):
            hooks.enter_context(answering(task, model))
            batches = Labelled(model, batches, every=True)
        if isinstance(chosen, TrainedMethod):
            values = chosen.train(model, groups, batches, seed, say, folder)
        elif isinstance(chosen, TaskMethod):
            values = chosen.score_for(task, model, groups, batches, seed)
        else:
            values = chosen.score(model, groups, batches, seed)
    for group, value in values.items():
        if not torch.isfinite(value).all():
            raise NotFiniteError(
                f"the {name} scores of {group!r} are not finite: the model's outputs or gradients overflow on these "
                "images; check the weights and the preprocessing"
            )
    return Scores(values, name, plain_options(chosen), seed)


def _task(method: ScoreMethod, task: Task | None, output: Output | None, loss: Loss | None) -> Task:
    """What the model is for, by whichever of the three says it."""
    if sum(given is not None for given in (task, output, loss)) > 1:
        raise PlanError("a task, an output and a loss say three times what is explained: give one of them")
    if loss is None:
        return task or Classify()
    if not isinstance(method, TaskMethod):
        raise PlanError(
            f"the {name_of(method)} score looks at no loss: give output=..., a function that makes scores "
            "[batch, classes] of what the model returns, or score by taylor"
        )
    return ByLoss(loss)


def check_by_class(method: ScoreMethod, task: Task) -> None:
    """Raises `PlanError` for class-wise scores of a model whose images have not one class each."""
    if method.by_class and not task.classifies:
        raise PlanError(
            f"the {name_of(method)} scores are class-wise, but the task {task_name(task)} has not one class for each "
            "image: score by another method, such as taylor"
        )


@contextmanager
def _once(name: str) -> Iterator[None]:
    """Raises `ModelError` where gradient checkpointing hides gradients from a method."""
    from torch.utils.checkpoint import CheckpointError

    try:
        yield
    except RuntimeError as error:
        signs = ("torch.utils.checkpoint", "does not require grad")
        if not isinstance(error, CheckpointError) and not any(sign in str(error) for sign in signs):
            raise
        raise ModelError(
            f"a part of the model runs under gradient checkpointing or without gradients, which {name} scores cannot "
            f"see into ({str(error).splitlines()[0]}): switch that off and score again"
        ) from error
