"""A segmenter and a detector, trained here on pictures of shapes and pruned to half by recipes.

`python -m secateur_studies.beyond_classes` draws the pictures (`shapes`), trains both models on them for minutes on a
CPU, and takes recipes with `task: segment` and `task: detect` through the stages of a run: as surgery leaves the model,
compensated, and distilled from the dense one. The metric is that of pictures that nothing else has seen.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import torch
from safetensors.torch import save_file
from secateur_studies.shapes import SIZE, write_shapes

from secateur.benchmarks.environment import environment
from secateur.core.files import write_json
from secateur.pipeline.analysis.accuracy import evaluate
from secateur.pipeline.data.dataset import Dataset, open_data
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.data.shuffled import shuffled
from secateur.pipeline.models.create import create_model
from secateur.pipeline.models.inputs import transform_for
from secateur.pipeline.models.spec import ModelSpec
from secateur.pipeline.runs.recipe import Recipe, make_recipe
from secateur.pipeline.runs.runner import open_run, run_stages

IMAGES, JUDGED, BATCH, LR = 256, 200, 16, 1e-2
HERE = "secateur_studies.shapes"
TASKS: dict[str, dict[str, Any]] = {
    "detect": {
        "task": {"name": "detect", "decode": f"{HERE}:decode", "loss": f"{HERE}:detection_loss"},
        "model": {"name": f"{HERE}:detector"},
    },
    "segment": {"task": "segment", "model": {"name": f"{HERE}:unet"}},
}
WAYS: dict[str, dict[str, Any]] = {
    "surgery alone": {"compensate": False},
    "compensated": {},
    "compensated, distilled": {"distill": {"epochs": 5, "batch_size": 16, "lr": 2e-3, "mix": 0.0, "scale": 0.7}},
}


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/beyond_classes.json"))
@click.option("--epochs", default=36, show_default=True, help="Passes over the pictures to train with.")
@click.option("--budget", default=0.5, show_default=True, help="Share of the MACs that stays.")
def main(out: Path, epochs: int, budget: float) -> None:
    """Trains, prunes and judges both models."""
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for part, count, seed in (("train", IMAGES, 0), ("val", JUDGED, 1)):
            write_shapes(folder / part, count, seed)
        for task, sections in TASKS.items():
            rows[task] = of_task(folder, task, sections, epochs, budget)
    content = {
        "command": f"python -m secateur_studies.beyond_classes --epochs {epochs} --budget {budget:g}",
        "environment": asdict(environment()),
        "images": {"trained and calibrated on": IMAGES, "judged by": JUDGED, "size": SIZE},
        "epochs": epochs,
        "budget": budget,
        "tasks": rows,
    }
    write_json(out, "beyond_classes", content)


def of_task(folder: Path, task: str, sections: dict[str, Any], epochs: int, budget: float) -> dict[str, Any]:
    """The rows of a task: dense, and pruned with each way of repair."""
    weights, started = folder / f"{task}.safetensors", time.perf_counter()
    dense = recipe_of(folder, sections, weights, budget, {})
    losses = train(dense, weights, epochs)
    rows: dict[str, Any] = {"training_seconds": time.perf_counter() - started, "losses": losses}
    for way, recover in WAYS.items():
        recipe = recipe_of(folder, sections, weights, budget, recover)
        run = open_run(folder / "runs" / task / way.replace(" ", "-"), recipe)
        run_stages(run, "recover")
        measured = {"dense": run.dense, way: run.small} if "dense" not in rows else {way: run.small}
        facts = run.plan.facts
        assert facts is not None  # a plan that was just made says what it costs
        for name, model in measured.items():
            reached = evaluate(model, run.evaluation(), run.task, run.data.classes)
            dense_row = name == "dense"
            rows[name] = {
                "metrics": [asdict(metric) for metric in reached],
                "macs": facts.macs_dense if dense_row else facts.macs,
                "params": facts.params_dense if dense_row else facts.params,
            }
            click.echo(f"{task}, {name}: {', '.join(map(str, reached))}")
    return rows


def recipe_of(folder: Path, sections: dict[str, Any], weights: Path, budget: float, recover: dict[str, Any]) -> Recipe:
    """The recipe of one run."""
    names = {"segment": ("train", "val")}.get(str(sections["task"]), ("train/boxes.json", "val/boxes.json"))
    model = {**sections["model"], "input_size": [3, SIZE, SIZE]}
    if weights.is_file():
        model["weights"] = str(weights)
    content = {
        **sections,
        "model": model,
        "data": {"calibration": str(folder / names[0]), "evaluation": str(folder / names[1])},
        "score": {"method": "obs", "samples_per_class": 40},
        "plan": {"align": 4},
        "budget": {"macs": budget},
        "recover": {"samples_per_class": 40, **recover},
    }
    return make_recipe(content, "the study")


def train(recipe: Recipe, weights: Path, epochs: int) -> list[float]:
    """Trains the recipe's model by its task's loss and writes the weights; returns the mean loss of each epoch."""
    torch.manual_seed(0)
    model, task = create_model(ModelSpec(recipe.model.name, input_size=recipe.model.input_size)), recipe.task.made()
    data: Dataset = open_data(recipe.data, labels=task.labels)
    loader = Loader(data.calibration, transform_for(model, whole=True), BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), LR, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, epochs * len(loader))
    means: list[float] = []
    model.train()
    for epoch in range(epochs):
        total = 0.0
        for images, labels in shuffled(loader, BATCH, (0, epoch)):
            loss = task.losses(model(images), labels).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
            if schedule.last_epoch < schedule.total_steps - 1:
                schedule.step()
            total += float(loss.detach()) * len(images) / loader.samples
        means.append(total)
        click.echo(f"{recipe.task.name}: epoch {epoch + 1} of {epochs}, loss {total:.4f}")
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, weights)
    return means


def rows_of(content: dict[str, Any]) -> tuple[Sequence[str], list[Sequence[str]]]:
    """The head and the rows of the table: a task in each, its metric dense and after each way, and its MACs."""
    found: list[Sequence[str]] = []
    for task, rows in content["tasks"].items():
        reached = [rows[way]["metrics"][0] for way in ("dense", *WAYS)]
        numbers = [f"{metric['value']:.1f} {metric['unit']}" for metric in reached]
        macs = [f"{rows[way]['macs'] / 1e6:.1f} M" for way in ("dense", next(iter(WAYS)))]
        found.append((f"`{task}`, {reached[0]['name']}", *numbers, " to ".join(macs)))
    return ("task", "dense", *WAYS, "MACs"), found


if __name__ == "__main__":
    main()
