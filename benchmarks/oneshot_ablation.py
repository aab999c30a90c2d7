"""What each part of one-shot pruning is worth: DeiT-Tiny without half of its MLP hidden units, row by row.

`python -m secateur.benchmarks.oneshot_ablation --data ../shared/data` scores, allocates and repairs in the ways of
`ROWS` with statistics from 1,000 images and measures top-1 on 1,000 others. Finished rows and scores are kept, so
that it goes on where it was stopped.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import click
import torch
from torch import nn

from secateur.pipeline.data.dataset import open_data
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.data.spec import DataSpec
from secateur.pipeline.files import write_json
from secateur.pipeline.models import create_model, input_shape, transform_for
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.make import make_plan
from secateur.pipeline.recover.compensate import repair
from secateur.pipeline.runs.evaluate import top1
from secateur.pipeline.scores.score import Scores, score
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.surgery import example_for, prune

MODEL = "deit_tiny_patch16_224"
KIND = "mlp_hidden"
WAYS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "dense statistics": {"front_to_back": False},
    "front to back": {"front_to_back": True},
}


@dataclass(frozen=True)
class Row:
    """One choice of units and one way to repair what they leave."""

    method: str
    allocate: str
    way: str
    options: dict[str, Any] = field(default_factory=dict)


ROWS = (
    Row("obs", "global", "dense statistics"),
    Row("obs", "global", "front to back"),
    Row("obs", "uniform", "front to back"),
    Row("obs", "uniform", "dense statistics"),
    Row("obs", "global", "none"),
    Row("obs", "knapsack", "front to back"),
    Row("taylor", "global", "front to back"),
    Row("taylor", "global", "dense statistics"),
    Row("obs", "uniform", "dense statistics", {"metric": "none"}),
    Row("obs", "global", "dense statistics", {"metric": "trace"}),
    Row("obs", "global", "dense statistics", {"weights": "gradient"}),
    Row("obs", "global", "dense statistics", {"weights": "relevance"}),
    Row("obs", "global", "dense statistics", {"weights": "class_token"}),
    Row("activation", "uniform", "front to back"),
    Row("magnitude", "uniform", "front to back"),
)


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Weights and images.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/oneshot_ablation.json"))
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/oneshot_ablation"), show_default=True)
@click.option("--keep", default=0.5, show_default=True, help="The fraction of the MLP hidden units that stays.")
def main(data: Path, out: Path, work: Path, keep: float) -> None:
    """Measures the rows that are not in the file yet."""
    from secateur.benchmarks.environment import environment

    model = create_model(MODEL, weights=str(data / f"weights/{MODEL}.safetensors"))
    images = open_data(
        DataSpec(calibration=str(data / "imagenet-train1000"), evaluation=str(data / "imagenet-val1000"))
    )
    calibration, held_out = (Loader(part, transform_for(model), 25) for part in (images.calibration, images.evaluation))
    groups = find_groups(model, example_for(model, input_shape(model)))
    content: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    if not content:
        dense = top1(model, held_out)
        content = {
            "command": f"python -m secateur.benchmarks.oneshot_ablation --data DATA --keep {keep}",
            "environment": environment(),
            "threads": torch.get_num_threads(),
            "model": MODEL,
            "removed": f"{1 - keep:.0%} of the MLP hidden units",
            "calibration_images": calibration.samples,
            "held_out_images": held_out.samples,
            "standard_error_points": 100 * math.sqrt(dense / 100 * (1 - dense / 100) / held_out.samples),
            "dense": {"top1": dense, "macs": groups.macs()},
            "rows": [],
        }
    for row in ROWS:
        made = asdict(row)
        if any(all(found[key] == made[key] for key in made) for found in content["rows"]):
            continue
        content["rows"].append({**made, **measure(model, groups, row, keep, calibration, held_out, work)})
        content["rows"][-1]["share_of_dense"] = content["rows"][-1]["top1"] / content["dense"]["top1"]
        write_json(out, "oneshot", {key: value for key, value in content.items() if key != "schema"})
        click.echo(json.dumps(content["rows"][-1]), err=True)


def measure(
    model: nn.Module, groups: Groups, row: Row, keep: float, calibration: Loader, held_out: Loader, work: Path
) -> dict[str, Any]:
    """The MACs, widths, top-1 and seconds of one row; its scores are kept in the folder `work`."""
    words = [row.method, *(f"{key}={value}" for key, value in sorted(row.options.items()))]
    place = work / f"{'-'.join(words)}.safetensors"
    if not place.exists():
        started = time.perf_counter()
        pruned = replace(groups, groups=tuple(group for group in groups if group.kind == KIND))
        score(model, pruned, calibration, row.method, **row.options).save(place)
        click.echo(f"scored by {' '.join(words)} in {time.perf_counter() - started:.0f} s", err=True)
    plan = make_plan(groups, Scores.load(place), Budget(units=keep), allocate=row.allocate, kinds=(KIND,))
    small, options, started = prune(model, plan, groups), WAYS[row.way], time.perf_counter()
    repairs: list[dict[str, Any]] = []
    if options is not None:
        small, found = repair(small, model, plan, calibration, groups=groups, **options)
        repairs = [asdict(part) for part in found]
    seconds = time.perf_counter() - started
    kept = [len(plan.kept.get(group.name, range(group.units))) for group in groups if group.kind == KIND]
    return {
        "macs": groups.macs(plan.kept),
        "kept": kept,
        "top1": top1(small, held_out),
        "repair_seconds": seconds,
        "repairs": repairs,
    }


if __name__ == "__main__":
    main()
