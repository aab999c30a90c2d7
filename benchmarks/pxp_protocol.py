"""The protocol of Pruning by eXplaining on DeiT-Tiny: A_PR of heads and of MLP neurons, by method.

`python -m secateur.benchmarks.pxp_protocol --data ../shared/data` scores units on 10 reference images of each class,
removes them the least important first, and measures top-1 on other images: among three of Imagenette's classes
(several draws), among all ten, and among all 1,000 of ImageNet. The composite is searched first, on training images.
Every curve is saved as soon as it is there, so that a stopped benchmark goes on. `--authors` adds the published code
on the same images (see `pxp_authors`); it takes seconds an image.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor, nn

from secateur.benchmarks.environment import environment
from secateur.benchmarks.pxp_authors import published_scores
from secateur.pipeline.data.dataset import Dataset, open_data
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.data.sampling import few_shot
from secateur.pipeline.data.spec import DataSpec
from secateur.pipeline.errors import BenchError
from secateur.pipeline.files import read_json, write_json
from secateur.pipeline.models import create_model, transform_for
from secateur.pipeline.recover.compensate import compensate
from secateur.pipeline.scores.curve import RATES, Point, Shape, a_pr, top1_among
from secateur.pipeline.scores.score import Scores, score
from secateur.pipeline.scores.search.for_run import split
from secateur.pipeline.scores.search.search import search
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.surgery import prune

MODEL = "deit_tiny_patch16_224"
UNITS = {"heads": "head", "neurons": "mlp_hidden"}
STEPS = RATES[::2]  # every second rate: 0, 10, ..., 90 %
REFERENCES = 10  # of each class; of all 1,000 classes one in ten has one
JUDGED = {"three": 15, "ten": 5}  # of each class
FULL_JUDGED = 120
SEARCHED = "lrp: searched"
REPAIRED = "lrp: searched, compensated"
PUBLISHED = "published code: epsilon"
METHODS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "random": ("random", {}),
    "magnitude": ("magnitude", {}),
    "activation": ("activation", {}),
    "taylor": ("taylor", {}),
    "integrated gradients": ("integrated_gradients", {"steps": 5}),
    "lrp: epsilon": ("lrp", {"composite": "epsilon"}),
    "lrp: epsilon, absolute before the sum": ("lrp", {"composite": "epsilon", "aggregate": "absolute_before"}),
}
Batches = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Task:
    """A classification task: the model with the logits of its classes alone, reference images, images to judge by."""

    name: str
    model: nn.Module
    reference: Batches
    judged: Batches

    @cached_property
    def groups(self) -> Groups:
        """The groups of the task's model."""
        return find_groups(self.model, self.judged[0][0][:1])

    @cached_property
    def dense(self) -> Point:
        """Nothing removed."""
        return measured(self, None, "head", 0.0, False)


def restricted(model: nn.Module, classes: Sequence[int]) -> nn.Module:
    """A copy whose logits are those of `classes`, in their order: all others count as minus infinity."""
    chosen = copy.deepcopy(model)
    head = chosen.get_submodule("head")
    with torch.no_grad():
        new = nn.Linear(head.in_features, len(classes))  # type: ignore[arg-type]  # an attribute that torch types as a module
        new.weight.copy_(head.weight[list(classes)])  # type: ignore[index]  # likewise
        new.bias.copy_(head.bias[list(classes)])  # type: ignore[index]  # likewise
    chosen.head = new
    return chosen.eval()


def batches(images: Any, model: nn.Module, chosen: Sequence[int], places: Mapping[int, int]) -> Batches:
    """The chosen images, their labels replaced by the places of their classes."""
    return [
        (pixels, torch.tensor([places[int(label)] for label in labels]))
        for pixels, labels in Loader(images, transform_for(model), 15, chosen)
    ]


def imagenette(model: nn.Module, data: Path, classes: Sequence[int], name: str, seed: int) -> Task:
    """The task of telling some of Imagenette's ten classes apart."""
    from timm.data import ImageNetInfo

    found = open_data(DataSpec(calibration=str(data / "imagenette/train"), evaluation=str(data / "imagenette/val")))
    order = ImageNetInfo().label_names()  # type: ignore[no-untyped-call]  # timm does not annotate it
    places = {label: place for place, label in enumerate(classes)}
    logits = [order.index(found.calibration.classes[label]) for label in classes]
    judged = JUDGED["three" if len(classes) == 3 else "ten"]
    return Task(
        *(name, restricted(model, logits)),
        batches(found.calibration, model, of_classes(found.calibration.labels, classes, REFERENCES, seed), places),
        batches(found.evaluation, model, of_classes(found.evaluation.labels, classes, judged, seed), places),
    )


def of_classes(labels: np.ndarray[Any, Any], classes: Sequence[int], count: int, seed: int) -> list[int]:
    """The places of `count` images of each of the classes."""
    return [int(index) for index in few_shot(labels, count, seed) if labels[index] in classes]


def imagenet(model: nn.Module, data: Path) -> Task:
    """The task of all 1,000 classes, on evenly spread images."""
    found = open_data(DataSpec(calibration=str(data / "imagenet-train1000"), evaluation=str(data / "imagenet-val1000")))
    places = {label: label for label in range(1000)}
    spread = [np.linspace(0, 999, count).round().astype(int).tolist() for count in (1000 // REFERENCES, FULL_JUDGED)]
    return Task(
        *("full", model),
        batches(found.calibration, model, spread[0], places),
        batches(found.evaluation, model, spread[1], places),
    )


def tasks(model: nn.Module, data: Path, draws: int) -> Iterator[Task]:
    """The draws of three classes, the ten classes, and all classes."""
    for draw in range(draws):
        classes = sorted(np.random.default_rng(draw).permutation(10)[:3].tolist())
        yield imagenette(model, data, classes, f"three/{draw}", draw)
    yield imagenette(model, data, range(10), "ten", 0)
    yield imagenet(model, data)


def measured(task: Task, scores: Scores | None, kind: str, rate: float, repaired: bool) -> Point:
    """What is left, and its top-1, when the share `rate` of the units is removed (and the rest compensated)."""
    small, kept = task.model, {}
    if scores is not None:
        plan = Shape((kind,), "global", (rate,)).plan(task.groups, scores, rate)
        small, kept = prune(task.model, plan, task.groups), dict(plan.kept)
        if repaired:
            small = compensate(small, task.model, plan, task.reference, groups=task.groups)
    right, count = top1_among(small, task.judged)
    return Point(rate, task.groups.macs(kept), task.groups.params(kept), 100.0 * right / count)


def composite_for(model: nn.Module, data: Path, work: Path, kind: str, trials: int) -> dict[str, Any]:
    """The best composite for units of a kind, as plain values with the search's A_PR, by training images alone."""
    found: Dataset = open_data(DataSpec(path=str(data / "imagenette/train")))
    task = imagenette(model, data, range(10), "search", 0)
    images, places = found.calibration, {label: label for label in range(10)}
    reference, judged = split(images.labels, 0.5, 0)
    few = [
        places_of[few_shot(images.labels[places_of], count, 0)] for places_of, count in ((reference, 1), (judged, 4))
    ]
    loaded = [batches(images, model, part.tolist(), places) for part in few]
    work.mkdir(parents=True, exist_ok=True)
    best = search(
        *(task.model, task.groups, loaded[0], loaded[1], trials, f"sqlite:///{(work / 'study.db').resolve()}"),
        shape=Shape((kind,), "global", (0.3, 0.5, 0.7)),
        study_name=kind,
        report=lambda message: click.echo(f"{kind}: {message}", err=True),
    )
    return {"composite": best.composite.plain(), "a_pr": best.a_pr, "trials": len(best.trials)}


def scores_of(task: Task, method: str, kind: str, seed: int, best: Mapping[str, Any], authors: Path | None) -> Scores:
    """The task's scores by a method."""
    if method == PUBLISHED:
        if authors is None:
            raise BenchError("the published code is not here: give its checkout with --authors")
        return published_scores(task.model, task.reference, kind, authors)
    name, options = METHODS.get(method, ("lrp", best))
    return score(task.model, task.groups, task.reference, name, seed, **options)  # type: ignore[arg-type]  # batches are enough


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Weights and images.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/pxp_protocol.json"))
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/pxp_protocol"), help="For the studies.")
@click.option("--authors", type=click.Path(path_type=Path, exists=True), help="A checkout of the published code.")
@click.option("--draws", default=3, show_default=True, help="Draws of three classes.")
@click.option("--random-seeds", default=2, show_default=True)
@click.option("--trials", default=16, show_default=True, help="Trials of each search.")
@click.option("--only", default="", help="Tasks to run, by the beginning of their names. [default: all]")
def main(
    data: Path, out: Path, work: Path, authors: Path | None, draws: int, random_seeds: int, trials: int, only: str
) -> None:
    """Measures what is not in the file yet, and writes it row by row."""
    model = create_model(MODEL, weights=str(data / f"weights/{MODEL}.safetensors")).eval()
    content = read_json(out, "pxp_protocol") if out.exists() else {"searched": {}, "dense": {}, "rows": []}
    content |= {
        "command": "python -m secateur.benchmarks.pxp_protocol --data DATA --authors CHECKOUT",
        "environment": asdict(environment()),
        "rates": STEPS,
        "reference_images_per_class": REFERENCES,
    }
    for units, kind in UNITS.items():
        if units not in content["searched"]:
            content["searched"][units] = composite_for(model, data, work, kind, trials)
            write_json(out, "pxp_protocol", content)
    for task in tasks(model, data, draws):
        if not task.name.startswith(tuple(only.split(","))):
            continue
        if task.name not in content["dense"]:
            images = sum(len(labels) for _, labels in task.judged)
            content["dense"][task.name] = {**asdict(task.dense), "images": images}
        for units, kind in UNITS.items():
            best = {"composite": content["searched"][units]["composite"]}
            for method in (
                *METHODS,
                SEARCHED,
                REPAIRED,
                *((PUBLISHED,) if authors and task.name.startswith("three") else ()),
            ):
                for seed in range(random_seeds if method == "random" else 1):
                    key = {"task": task.name, "units": units, "method": method, "seed": seed}
                    if any(key.items() <= row.items() for row in content["rows"]):
                        continue
                    started = time.perf_counter()
                    scores = scores_of(task, method, kind, seed, best, authors)
                    seconds = time.perf_counter() - started
                    points = [task.dense, *(measured(task, scores, kind, r, method == REPAIRED) for r in STEPS[1:])]
                    rows = {"a_pr": a_pr(points), "score_seconds": seconds, "points": [asdict(p) for p in points]}
                    content["rows"].append({**key, **rows})
                    write_json(out, "pxp_protocol", content)
                    click.echo(f"{task.name} {units} {method} {seed}: {a_pr(points):.1f}", err=True)


if __name__ == "__main__":
    main()
