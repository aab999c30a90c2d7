"""The protocol of Pruning by eXplaining on DeiT-Tiny: A_PR of heads and of MLP neurons, by method.

`python -m secateur_studies.pxp_protocol --data ../shared/data` scores units on 10 reference images of each class,
removes them the least important first, and measures top-1 on other images: among three of Imagenette's classes
(several draws), among all ten, and among all 1,000 of ImageNet. The composite is searched first, on training images.
Every curve is saved as soon as it is there, so that a stopped benchmark goes on. `--authors` adds the published code
on the same images (see `pxp_authors`); it takes seconds an image.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from secateur_studies.curve_rows import BASELINES, Batches, Method, Rows, Task
from secateur_studies.pxp_authors import published_scores
from torch import nn

from secateur.pipeline.analysis.pruning_curve import Shape
from secateur.pipeline.analysis.rule_search import search
from secateur.pipeline.data.dataset import open_data
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.data.sampling import few_shot
from secateur.pipeline.data.spec import DataSpec
from secateur.pipeline.models.create import create_model
from secateur.pipeline.models.inputs import transform_for
from secateur.pipeline.runs.search_run import split

MODEL = "deit_tiny_patch16_224"
UNITS = {"heads": "head", "neurons": "mlp_hidden"}
REFERENCES = 10  # of each class; of all 1,000 classes one in ten has one
JUDGED = {"three": 15, "ten": 5}  # of each class
FULL_JUDGED = 80
METHODS = (
    *BASELINES,
    Method("lrp: epsilon", "lrp", {"composite": "epsilon", "aggregate": "absolute_before"}),
    Method("lrp: epsilon, absolute mean", "lrp", {"composite": "epsilon", "aggregate": "absolute_mean"}),
)
PUBLISHED = Method("published code: epsilon", "published")


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


def composite_for(model: nn.Module, data: Path, work: Path, kind: str, trials: int) -> dict[str, Any]:
    """The best composite for units of a kind, as plain values with the search's A_PR, by training images alone."""
    found = open_data(DataSpec(path=str(data / "imagenette/train")))
    task = imagenette(model, data, range(10), "search", 0)
    images, places = found.calibration, {label: label for label in range(10)}
    reference, judged = split(images.labels, 0.5, 0)
    loaded = [
        batches(images, model, part[few_shot(images.labels[part], count, 0)].tolist(), places)
        for part, count in ((reference, 6), (judged, 6))
    ]
    work.mkdir(parents=True, exist_ok=True)
    best = search(
        *(task.model, task.groups, loaded[0], loaded[1], trials, f"sqlite:///{(work / 'study.db').resolve()}"),
        shape=Shape((kind,), "global", (0.3, 0.5, 0.7)),
        study_name=kind,
        report=lambda message: click.echo(f"{kind}: {message}", err=True),
    )
    return {"composite": best.composite.plain(), "a_pr": best.a_pr, "trials": len(best.trials)}


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Weights and images.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/pxp_protocol.json"))
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/pxp_protocol"), help="For the studies.")
@click.option("--authors", type=click.Path(path_type=Path, exists=True), help="A checkout of the published code.")
@click.option("--draws", default=3, show_default=True, help="Draws of three classes.")
@click.option("--random-seeds", default=2, show_default=True)
@click.option("--trials", default=30, show_default=True, help="Trials of each search.")
@click.option("--only", default="", help="Tasks to run, by the beginnings of their names. [default: all]")
def main(
    data: Path, out: Path, work: Path, authors: Path | None, draws: int, random_seeds: int, trials: int, only: str
) -> None:
    """Measures what is not in the file yet, and writes it row by row."""
    model = create_model(MODEL, weights=str(data / f"weights/{MODEL}.safetensors")).eval()
    rows = Rows(out, "pxp_protocol", "python -m secateur_studies.pxp_protocol --data DATA --authors CHECKOUT")
    searched = rows.content.setdefault("searched", {})
    for units, kind in UNITS.items():
        if units not in searched:
            searched[units] = composite_for(model, data, work, kind, trials)
            rows.save()
    for task in tasks(model, data, draws):
        if not task.name.startswith(tuple(only.split(","))):
            continue
        for units, kind in UNITS.items():
            best = {"composite": searched[units]["composite"]}
            ours = (
                *METHODS,
                Method("lrp: searched", "lrp", best),
                Method("lrp: searched, compensated", "lrp", best, repaired=True),
            )
            for method in ours:
                for seed in range(random_seeds if method.name == "random" else 1):
                    rows.add(task, units, kind, method, seed)
            if authors:
                scored = partial(published_scores, task.model, task.reference, kind, authors)
                rows.add(task, units, kind, PUBLISHED, 0, scored)


if __name__ == "__main__":
    main()
