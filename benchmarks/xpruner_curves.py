"""X-Pruner's masks and learned rates against other scores at equal MACs: DeiT-Tiny for ten classes, Swin on CIFAR-10.

`python -m secateur.benchmarks.xpruner_curves --data ../shared/data --swin swin_cifar10.safetensors` takes the Swin
that `train_swin_cifar` has written. Every row is saved as soon as it is there, and scores are kept in `--work`, so
that a stopped benchmark goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import click
import torch
from torch import nn

from secateur.benchmarks.environment import environment
from secateur.benchmarks.train_swin_cifar import TRANSFORM, cifar_swin, images_of
from secateur.pipeline.data.classes import logits_of
from secateur.pipeline.data.dataset import open_data
from secateur.pipeline.data.images import Images
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.data.sampling import few_shot
from secateur.pipeline.data.transform import Transform
from secateur.pipeline.files import read_json, write_json
from secateur.pipeline.models import create_model, input_shape, transform_for
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.make import make_plan
from secateur.pipeline.plan.soft_judge import soft_judge
from secateur.pipeline.plan.xpruner_spec import XprunerSpec
from secateur.pipeline.recover.compensate import compensate
from secateur.pipeline.runs.evaluate import top1
from secateur.pipeline.scores.score import Scores, score
from secateur.pipeline.structure.classes import Classes, specialised
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.surgery import example_for, prune

SCHEMA = "xpruner_curves"
DEIT = "deit_tiny_patch16_224"
RATES = XprunerSpec(steps=40, batch_size=20)


@dataclass(frozen=True)
class Task:
    """A model, images to score and repair with (`references` of each class, drawn by the seed), images to judge by."""

    name: str
    model: nn.Module
    transform: Transform
    kinds: tuple[str, ...]
    calibration: Images
    judged: Loader
    references: int

    def reference(self, seed: int) -> Loader:
        """The images to score and repair with."""
        chosen = few_shot(self.calibration.labels, self.references, seed)
        return Loader(self.calibration, self.transform, 20, chosen)

    def groups(self) -> Groups:
        """The groups of the kinds that are pruned and those around them, all of which keep their cost."""
        return find_groups(self.model, example_for(self.model, input_shape(self.model)))


@dataclass(frozen=True)
class Way:
    """A score method with its options, and an allocation; `label` names the row."""

    label: str
    method: str
    allocate: str = "global"
    options: dict[str, Any] = field(default_factory=dict)


WAYS = (
    Way("magnitude", "magnitude"),
    Way("taylor", "taylor"),
    Way("lrp", "lrp"),
    Way("xmask", "xmask"),
    Way("taylor, learned rates", "taylor", "xpruner"),
    Way("xmask, learned rates", "xmask", "xpruner"),
)
VARIANTS = (
    Way("xmask, sparsity 1e-4", "xmask", options={"sparsity": 1e-4}),
    Way("xmask, smooth along units", "xmask", options={"smooth": "units"}),
    Way("xmask, not smoothed", "xmask", options={"smoothness": 0.0}),
    Way("xmask, smoother classes", "xmask", options={"smoothness": 1e-2}),
    Way("xmask, smoother units", "xmask", options={"smooth": "units", "smoothness": 1e-2}),
    Way("xmask, rank 2", "xmask", options={"rank": 2}),
)


def swin_task(data: Path, weights: Path) -> Task:
    """The Swin that `train_swin_cifar` has trained, judged on 50 test images of each class."""
    held_out = images_of(data, "test")
    judged = Loader(held_out, TRANSFORM, 100, few_shot(held_out.labels, 50))
    kinds = ("mlp_hidden", "qk_dim", "v_dim")
    return Task("Swin, CIFAR-10", cifar_swin(weights), TRANSFORM, kinds, images_of(data, "train"), judged, 20)


def deit_task(data: Path) -> Task:
    """DeiT-Tiny cut to Imagenette's ten classes, judged on 25 held-out images of each."""
    images = open_data(str(data / "imagenette"))
    dense = create_model(DEIT, weights=str(data / f"weights/{DEIT}.safetensors"))
    logits = logits_of(images.classes, images.classes, 1000)
    model = specialised(dense, Classes(1000, tuple(logits), images.classes))
    transform = transform_for(model)
    judged = Loader(images.evaluation, transform, 50, few_shot(images.evaluation.labels, 25))
    name = "DeiT-Tiny, ten classes of ImageNet"
    return Task(name, model, transform, ("head", "mlp_hidden"), images.calibration, judged, 20)


class Curves:
    """The file of the benchmark, and the scores behind it."""

    def __init__(self, out: Path, work: Path, command: str) -> None:
        self._out, self._work = out, work
        there = read_json(out, SCHEMA) if out.exists() else {"dense": {}, "rows": []}
        about = {"command": command, "environment": asdict(environment()), "threads": torch.get_num_threads()}
        self._content: dict[str, Any] = {**there, **about, "learned_rates": asdict(RATES)}

    def measure(self, task: Task, ways: Sequence[Way], budgets: Sequence[float], seeds: Sequence[int]) -> None:
        """Measures the rows that are not there yet: top-1 without repair, and after ridge compensation."""
        groups = task.groups()
        if task.name not in self._content["dense"]:
            images = {"images": task.judged.samples, "reference_images": task.reference(0).samples}
            self._content["dense"][task.name] = {"top1": top1(task.model, task.judged), "macs": groups.macs(), **images}
        for seed in seeds:
            for way in ways:
                for macs in budgets:
                    key = {"task": task.name, "way": way.label, "macs": macs, "seed": seed}
                    if not any(key.items() <= row.items() for row in self._content["rows"]):
                        self._content["rows"].append({**key, **self._row(task, groups, way, macs, seed)})
                        write_json(self._out, SCHEMA, self._content)
                        click.echo(json.dumps(self._content["rows"][-1]), err=True)

    def _row(self, task: Task, groups: Groups, way: Way, macs: float, seed: int) -> dict[str, Any]:
        reference = task.reference(seed)
        scores, seconds = self._scores(task, groups, way, seed, reference)
        started = time.perf_counter()
        plan = make_plan(
            *(groups, scores, Budget(macs=macs), way.allocate),
            kinds=task.kinds,
            soft=soft_judge(task.model, groups, reference, RATES.loss, RATES.batch_size, seed),
            xpruner=RATES,
        )
        planned = time.perf_counter() - started
        small = prune(task.model, plan, groups)
        repaired = compensate(small, task.model, plan, reference, groups=groups)
        return {
            "top1": top1(small, task.judged),
            "top1_repaired": top1(repaired, task.judged),
            "macs_share": groups.macs(plan.kept) / groups.macs(),
            "kept": {name: len(units) for name, units in plan.kept.items()},
            "score_seconds": seconds,
            "plan_seconds": planned,
        }

    def _scores(
        self, task: Task, groups: Groups, way: Way, seed: int, reference: Loader
    ) -> tuple[Scores, float | None]:
        """The scores of a way, kept in a file, and the seconds that they took, where they were made now."""
        words = [task.name, way.method, *(f"{key}={value}" for key, value in sorted(way.options.items())), str(seed)]
        place = self._work / f"{'-'.join(words).replace(' ', '_')}.safetensors"
        if place.exists():
            return Scores.load(place), None
        started = time.perf_counter()
        pruned = replace(groups, groups=tuple(group for group in groups if group.kind in task.kinds))
        found = score(task.model, pruned, reference, way.method, seed, **way.options)
        found.save(place)
        return found, time.perf_counter() - started


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Weights and images.")
@click.option("--swin", type=click.Path(path_type=Path, exists=True), required=True, help="Weights of the Swin.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/xpruner_curves.json"))
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/xpruner_curves"), show_default=True)
@click.option("--seeds", default=2, show_default=True, help="Seeds of the Swin's rows.")
@click.option("--deit-seeds", default=1, show_default=True, help="Seeds of DeiT-Tiny's rows.")
def main(data: Path, swin: Path, out: Path, work: Path, seeds: int, deit_seeds: int) -> None:
    """Measures the rows that are not in the file yet."""
    curves = Curves(out, work, "python -m secateur.benchmarks.xpruner_curves --data DATA --swin SWIN")
    small = swin_task(data, swin)
    curves.measure(small, WAYS, (0.6, 0.4), range(seeds))
    curves.measure(deit_task(data), WAYS, (0.6, 0.4), range(deit_seeds))
    curves.measure(small, VARIANTS, (0.6,), range(seeds))


if __name__ == "__main__":
    main()
