"""How far a pruned model's predictions are from the dense one's, for allocations that measure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import torch
from torch import nn

from secateur.core.errors import DataError, RunError
from secateur.core.files import locked, read_json, sha256_json, write_json
from secateur.core.model_inputs import call, moved, samples_of
from secateur.core.modules import frozen
from secateur.pipeline.data.loader import Batches
from secateur.pipeline.plan.allocation import Objective
from secateur.pipeline.structure.groups import Groups, Kept
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import cut
from secateur.pipeline.tasks.classify import Classify
from secateur.pipeline.tasks.task import Task

SCHEMA = "judged"


@dataclass(frozen=True)
class ObjectiveValues:
    """What an objective said of candidates, by the hash of what they keep; `identity` names what decides the values."""

    identity: str
    values: Mapping[str, float]

    def save(self, path: Path) -> None:
        """Writes the values as JSON."""
        write_json(path, SCHEMA, asdict(self))

    @staticmethod
    def load(path: Path, identity: str) -> ObjectiveValues:
        """The values in a file, none where it is absent or of another identity.

        Raises `RunError` for a file that is no such thing.
        """
        if not path.exists():
            return ObjectiveValues(identity, {})
        content = read_json(path, SCHEMA)
        try:
            values = {str(key): float(value) for key, value in content["values"].items()}
            there = str(content["identity"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise RunError(f"{path} holds no values of an objective ({error!r}): delete it to measure anew") from error
        return ObjectiveValues(identity, values if there == identity else {})


def divergence(
    model: nn.Module,
    groups: Groups,
    loader: Batches,
    small: Callable[[Kept], nn.Module] | None = None,
    task: Task | None = None,
) -> Objective:
    """An objective: the mean divergence of the pruned model's predictions from the dense one's.

    Of a classifier that is the Kullback-Leibler divergence in nats, of others what their `task` says. `small` makes the
    pruned model, by surgery alone without it. Labels are not looked at. The images are kept in memory, so give few (64
    will do). Raises `DataError` without any.

    >>> objective = sc.divergence(model, groups, loader)
    >>> objective({}), objective(plan.kept) > 0  # nothing removed, and a plan
    (0.0, True)
    """
    device, measure = next(model.parameters()).device, task or Classify()
    batches = [moved(images, device) for images, _ in loader]
    if not batches:
        raise DataError("there are no images to measure plans on: give a data set with at least one")
    with frozen(model), torch.inference_mode():
        goals = [call(model, images) for images in batches]

    def objective(kept: Kept) -> float:
        pruned = small(kept) if small else cut(model, groups, plan_from_kept(groups, kept))
        total = 0.0
        with frozen(pruned), torch.inference_mode():
            for images, goal in zip(batches, goals, strict=True):
                total += float(measure.divergence(call(pruned, images), goal).sum())
        return total / sum(samples_of(images) for images in batches)

    return objective


def remembered(make: Callable[[], Objective], path: Path, identity: str) -> Objective:
    """The objective that `make` makes, with its values in the file `path`: nothing is measured twice.

    A measurement that was stopped goes on, several budgets or processes share what they measure, and the objective is
    not made before a candidate needs it. A file of another `identity` (the hash of what decides the values) is begun
    anew; values that are not finite are not kept. Raises `RunError` for a file that is none of these.
    """
    made = cache(make)

    def objective(kept: Kept) -> float:
        key = sha256_json({name: list(units) for name, units in kept.items()})
        if (known := ObjectiveValues.load(path, identity).values.get(key)) is not None:
            return known
        value = made()(kept)
        if math.isfinite(value):
            with locked(path.with_suffix(".lock")):
                there = ObjectiveValues.load(path, identity)
                replace(there, values={**there.values, key: value}).save(path)
        return value

    return objective
