"""X-Pruner's masks and learned rates against other scores at equal MACs, repaired and tuned, on the tasks of `TASKS`.

`python -m secateur_studies.xpruner_curves ten --data ../shared/data` writes `benchmarks/results/xpruner_ten.json`;
the task `swin` takes the weights that `train_swin_cifar` has written (`--swin`). Every row is saved as soon as it is
there, and scores are kept in `--work`, so that a stopped benchmark goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

import click
import torch
from secateur_studies.xpruner_tasks import TASKS, Task, Way
from torch import nn

from secateur.benchmarks.environment import environment
from secateur.core.files import read_json, write_json
from secateur.pipeline.analysis.accuracy import accuracy
from secateur.pipeline.plan.allocation import Instruments, find_allocation
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.make import make_plan
from secateur.pipeline.plan.mask_loss import mask_loss
from secateur.pipeline.recover.compensate import Statistics, gather_statistics, repair
from secateur.pipeline.recover.distill import distill
from secateur.pipeline.recover.spec import DistillSpec
from secateur.pipeline.scores.score import Scores, score
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.structure.surgery import prune

SCHEMA = "xpruner_curves"
TUNED = DistillSpec(batch_size=50, lr=1e-4, labels=0.5, mix=0.0, scale=0.7, ema=0.9, precision="bf16")
VARIED = 0
"""Which of a task's budgets, by its place, the variants of the masks are measured at."""


class Curves:
    """The file of one task, and the scores behind it."""

    def __init__(self, task: Task, out: Path, work: Path, command: str) -> None:
        self._task, self._out, self._work = task, out, work
        self._groups = task.groups()
        self._statistics: dict[int, Statistics] = {}
        about = {"command": command, "environment": asdict(environment()), "threads": torch.get_num_threads()}
        settings = {"rates": asdict(task.rates), "tuning": asdict(self._tuning), "masks": task.masks}
        there = read_json(out, SCHEMA) if out.exists() else {"dense": self._dense(), "rows": []}
        self._content: dict[str, Any] = {**there, **about, **settings}

    def measure(self, ways: Sequence[Way], budgets: Sequence[float], seeds: Sequence[int]) -> None:
        """Measures the rows that are not there yet; ways that draw nothing have those of the first seed alone."""
        for seed, macs, way in product(seeds, budgets, ways):
            key = {"way": way.label, "macs": macs, "seed": seed}
            if seed > seeds[0] and not self._task.draws(way):
                continue
            if not any(key.items() <= row.items() for row in self._content["rows"]):
                self._content["rows"].append({**key, **self._row(way, macs, seed)})
                write_json(self._out, SCHEMA, self._content)
                click.echo(json.dumps(self._content["rows"][-1]), err=True)

    @property
    def _tuning(self) -> DistillSpec:
        return replace(TUNED, epochs=self._task.epochs)

    def _dense(self) -> dict[str, Any]:
        """What the pruned models are compared with."""
        task = self._task
        images = {"images": task.judged.samples, "reference_images": len(task.images(0))}
        if task.epochs:
            images["tuning_images"] = len(task.lessons(0))
        top1 = accuracy(task.model, task.judged)
        return {"task": task.name, "top1": top1, "macs": self._groups.macs(), **images}

    def _row(self, way: Way, macs: float, seed: int) -> dict[str, Any]:
        """The widths and the true MACs of a way, and top-1 with no repair, compensated, tuned, and both."""
        task, groups, reference = self._task, self._groups, self._task.reference(seed)
        scores, seconds = self._scores(way, seed)
        started = time.perf_counter()
        allocation = task.rates if way.allocate == "xpruner" else find_allocation(way.allocate)()
        allocation = replace(allocation, kinds=task.kinds)
        loss = mask_loss(task.model, groups, reference, task.rates.loss, task.rates.batch_size, seed)
        plan = make_plan(groups, scores, Budget(macs=macs), allocation, Instruments(mask_loss=loss))
        planned = time.perf_counter() - started
        small = prune(task.model, plan, groups)
        repaired = self._repaired(small, plan, seed)
        found = {"top1": accuracy(small, task.judged), "top1_compensated": accuracy(repaired, task.judged)}
        if task.epochs:
            tuned = {"top1_tuned": small, "top1_compensated_tuned": repaired}
            found |= {name: accuracy(self._tuned(model, seed), task.judged) for name, model in tuned.items()}
        kept = {name: len(units) for name, units in plan.kept.items()}
        share = groups.macs(plan.kept) / groups.macs()
        return {**found, "macs_share": share, "kept": kept, "score_seconds": seconds, "plan_seconds": planned}

    def _repaired(self, small: nn.Module, plan: Plan, seed: int) -> nn.Module:
        task, groups, reference = self._task, self._groups, self._task.reference(seed)
        if seed not in self._statistics:
            self._statistics = {seed: gather_statistics(task.model, groups, task.kinds, reference)}
        return repair(small, task.model, plan, reference, None, groups, self._statistics[seed])[0]

    def _tuned(self, small: nn.Module, seed: int) -> nn.Module:
        task = self._task
        return distill(small, task.model, task.lessons(seed), self._tuning, task.transform, self._work, seed)

    def _scores(self, way: Way, seed: int) -> tuple[Scores, float | None]:
        """The scores of a way, kept in a file, and the seconds that they took, where they were made now."""
        words = [self._task.name, way.method, *(f"{key}={value}" for key, value in sorted(way.options.items()))]
        place = self._work / f"{'-'.join([*words, str(seed)]).replace(' ', '_')}.safetensors"
        if place.exists():
            return Scores.load(place), None
        started, model = time.perf_counter(), self._task.model
        chosen = tuple(group for group in self._groups if group.kind in self._task.kinds)
        pruned, reference = replace(self._groups, groups=chosen), self._task.reference(seed)
        found = score(model, pruned, reference, way.method, seed, folder=self._work, **way.options)
        found.save(place)
        return found, time.perf_counter() - started


@click.command()
@click.argument("name", type=click.Choice(list(TASKS)))
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Weights and images.")
@click.option("--swin", type=click.Path(path_type=Path, exists=True), help="Weights of the Swin.")
@click.option("--out", type=click.Path(path_type=Path), help="[default: benchmarks/results/xpruner_NAME.json]")
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/xpruner_curves"), show_default=True)
@click.option("--seeds", default=1, show_default=True)
@click.option("--variants", is_flag=True, help="Masks with other options as well.")
def main(name: str, data: Path, swin: Path | None, out: Path | None, work: Path, seeds: int, variants: bool) -> None:
    """Measures the rows of a task that are not in its file yet."""
    if name == "swin" and swin is None:
        raise click.UsageError("the task swin needs --swin: train its weights with train_swin_cifar")
    task = TASKS[name](data, swin)
    command = f"python -m secateur_studies.xpruner_curves {name} --data DATA" + " --swin SWIN" * (name == "swin")
    curves = Curves(task, out or Path(f"benchmarks/results/xpruner_{name}.json"), work, command)
    curves.measure(task.ways(), task.macs, range(seeds))
    if variants:
        curves.measure(task.variants(), task.macs[VARIED : VARIED + 1], range(seeds))


if __name__ == "__main__":
    main()
