"""A_PR of methods on tasks, curve by curve in one JSON file with which a stopped benchmark goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor, nn

from secateur.benchmarks.environment import environment
from secateur.core.files import read_json, write_json
from secateur.pipeline.analysis.accuracy import accuracy
from secateur.pipeline.analysis.pruning_curve import RATES, Point, Shape, a_pr
from secateur.pipeline.recover.compensate import compensate
from secateur.pipeline.scores.score import Scores, score
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.surgery import prune

STEPS = RATES[::2]  # every second rate: 0, 10, ..., 90 %
Batches = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Method:
    """A score method with its options, under the name of its row; `repaired` compensates what was removed."""

    label: str
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    repaired: bool = False


BASELINES = (
    Method("random", "random"),
    Method("magnitude", "magnitude"),
    Method("activation", "activation"),
    Method("taylor", "taylor"),
    Method("integrated gradients", "integrated_gradients", {"steps": 5}),
)
"""What relevance is compared with."""


@dataclass(frozen=True)
class Task:
    """A classification task: a model, reference images to score with, and images to judge by."""

    name: str
    model: nn.Module
    reference: Batches
    judged: Batches

    @cached_property
    def groups(self) -> Groups:
        """What can be removed from the task's model."""
        return find_groups(self.model, self.judged[0][0][:1])

    @cached_property
    def dense(self) -> Point:
        """Nothing removed."""
        return Point(0.0, self.groups.macs(), self.groups.params(), self.top1(self.model))

    def scores(self, method: Method, seed: int) -> Scores:
        """The scores of all groups by a method."""
        return score(self.model, self.groups, self.reference, method.name, seed, **method.options)

    def top1(self, model: nn.Module) -> float:
        """The accuracy of a model on the images to judge by, in percent."""
        return accuracy(model, self.judged)

    def point(self, scores: Scores, kind: str, rate: float, repaired: bool) -> Point:
        """What is left, and its top-1, when the share `rate` of the units of a kind is removed."""
        plan = Shape((kind,), "global", (rate,)).plan(self.groups, scores, rate)
        small = prune(self.model, plan, self.groups)
        if repaired:
            small = compensate(small, self.model, plan, self.reference, groups=self.groups)
        return Point(rate, self.groups.macs(plan.kept), self.groups.params(plan.kept), self.top1(small))


class Rows:
    """The file of a benchmark: what it holds already is not measured again."""

    def __init__(self, path: Path, schema: str, command: str) -> None:
        self._path, self._schema = path, schema
        there = read_json(path, schema) if path.exists() else {"dense": {}, "rows": []}
        self.content: dict[str, Any] = {
            **there,
            "command": command,
            "environment": asdict(environment()),
            "threads": torch.get_num_threads(),
            "rates": STEPS,
        }

    def save(self) -> None:
        """Writes the file, atomically."""
        write_json(self._path, self._schema, self.content)

    def add(
        self, task: Task, units: str, kind: str, method: Method, seed: int, scored: Callable[[], Scores] | None = None
    ) -> None:
        """Measures one curve where it is not there yet; `scored` gives scores that no method of ours does."""
        key = {"task": task.name, "units": units, "method": method.label, "seed": seed}
        if any(key.items() <= row.items() for row in self.content["rows"]):
            return
        if task.name not in self.content["dense"]:
            counts = [sum(len(labels) for _, labels in part) for part in (task.reference, task.judged)]
            images = {"reference_images": counts[0], "images": counts[1]}
            self.content["dense"][task.name] = {**asdict(task.dense), **images}
        started = time.perf_counter()
        scores = scored() if scored else task.scores(method, seed)
        seconds = time.perf_counter() - started
        points = [task.dense, *(task.point(scores, kind, rate, method.repaired) for rate in STEPS[1:])]
        measured = {"a_pr": a_pr(points), "score_seconds": seconds, "points": [asdict(point) for point in points]}
        self.content["rows"].append({**key, **measured})
        self.save()
        click.echo(f"{task.name}, {units}, {method.label}, {seed}: {a_pr(points):.1f}", err=True)
