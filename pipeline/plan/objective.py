"""How far a pruned model's predictions are from the dense one's, for allocations that measure."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import nn

from secateur.core.errors import DataError
from secateur.core.files import locked, read_json, sha256_json, write_json
from secateur.core.modules import frozen
from secateur.pipeline.data.loader import Batches
from secateur.pipeline.plan.allocate import Judge
from secateur.pipeline.structure.groups import Groups, Kept
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import cut

SCHEMA = "judged"


def divergence(
    model: nn.Module,
    groups: Groups,
    loader: Batches,
    small: Callable[[Kept], nn.Module] | None = None,
) -> Judge:
    """A judge: the mean Kullback-Leibler divergence of the pruned model's prediction from the dense one's, in nats.

    `small` makes the pruned model, by surgery alone without it. Labels are not looked at. The images are kept in
    memory, so give few (64 will do). Raises `DataError` without any.
    """
    device = next(model.parameters()).device
    batches = [images.to(device) for images, _ in loader]
    if not batches:
        raise DataError("there are no images to judge plans by: give a data set with at least one")
    with frozen(model), torch.inference_mode():
        goals = [model(images).log_softmax(1) for images in batches]

    def judge(kept: Kept) -> float:
        pruned = small(kept) if small else cut(model, groups, plan_from_kept(groups, kept))
        total = 0.0
        with frozen(pruned), torch.inference_mode():
            for images, goal in zip(batches, goals, strict=True):
                found = pruned(images).log_softmax(1)
                total += float((goal.exp() * (goal - found)).sum())
        return total / sum(len(images) for images in batches)

    return judge


def remembered(make: Callable[[], Judge], path: Path, identity: str) -> Judge:
    """The judge that `make` makes, with its values in the file `path`: nothing is measured twice.

    A measurement that was stopped goes on, several budgets or processes share what they measure, and the judge is not
    made before a candidate needs it. A file of another `identity` (the hash of what decides the values) is begun anew;
    values that are not finite are not kept. Raises `RunError` for a file that is none of these.
    """
    judge = cache(make)

    def values() -> dict[str, float]:
        content = read_json(path, SCHEMA) if path.exists() else {}
        return dict(content["values"]) if content.get("identity") == identity else {}

    def judged(kept: Kept) -> float:
        key = sha256_json({name: list(units) for name, units in kept.items()})
        if (known := values().get(key)) is not None:
            return known
        value = judge()(kept)
        if math.isfinite(value):
            with locked(path.with_suffix(".lock")):
                write_json(path, SCHEMA, {"identity": identity, "values": {**values(), key: value}})
        return value

    return judged
