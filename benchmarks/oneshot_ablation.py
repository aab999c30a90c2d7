"""What each part of one-shot pruning is worth: DeiT-Tiny without half of its MLP hidden units, row by row.

`python -m secateur.benchmarks.oneshot_ablation --data ../shared/data` scores, allocates and repairs in the ways of
`ROWS` with statistics from 1,000 images and measures top-1 on 1,000 others. Finished rows are kept, so that it goes on
where it was stopped.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass, field
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
WAYS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "dense statistics": {"front_to_back": False},
    "front to back": {"front_to_back": True},
}


@dataclass(frozen=True)
class Row:
    """One choice of units and the ways to repair what they leave."""

    method: str
    allocate: str
    ways: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)


BOTH = ("dense statistics", "front to back")
ROWS = (
    Row("obs", "global", ("none", *BOTH)),
    Row("obs", "uniform", BOTH),
    Row("obs", "uniform", ("dense statistics",), {"metric": "none"}),
    Row("taylor", "global", BOTH),
    Row("obs", "global", ("dense statistics",), {"weights": "gradient"}),
    Row("obs", "global", ("dense statistics",), {"metric": "trace"}),
    Row("obs", "global", ("dense statistics",), {"weights": "class_token"}),
    Row("obs", "global", ("dense statistics",), {"weights": "relevance"}),
    Row("activation", "uniform", ("front to back",)),
    Row("magnitude", "uniform", ("front to back",)),
)


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Weights and images.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/oneshot_ablation.json"))
@click.option("--keep", default=0.5, show_default=True, help="The fraction of the MLP hidden units that stays.")
def main(data: Path, out: Path, keep: float) -> None:
    """Measures the rows that are not in the file yet."""
    from secateur.benchmarks.environment import environment

    model = create_model(MODEL, weights=str(data / f"weights/{MODEL}.safetensors"))
    images = open_data(
        DataSpec(calibration=str(data / "imagenet-train1000"), evaluation=str(data / "imagenet-val1000"))
    )
    calibration, held_out = (Loader(part, transform_for(model), 50) for part in (images.calibration, images.evaluation))
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
    known: dict[str, Scores] = {}
    for row in ROWS:
        made = {**asdict(row), "keep": keep}
        if any(all(found[key] == json.loads(json.dumps(made))[key] for key in made) for found in content["rows"]):
            continue
        content["rows"].append({**made, **measure(model, groups, row, keep, calibration, held_out, known)})
        write_json(out, "oneshot", {key: value for key, value in content.items() if key != "schema"})
        click.echo(json.dumps(content["rows"][-1]), err=True)


def measure(
    model: nn.Module,
    groups: Groups,
    row: Row,
    keep: float,
    calibration: Loader,
    held_out: Loader,
    known: dict[str, Scores],
) -> dict[str, Any]:
    """The MACs, top-1 and seconds of one row; `known` holds the scores that rows share."""
    started = time.perf_counter()
    key = f"{row.method} {sorted(row.options.items())}"
    if key not in known:
        known[key] = score(model, groups, calibration, row.method, **row.options)
    scored = time.perf_counter() - started
    plan = make_plan(groups, known[key], Budget(units=keep), allocate=row.allocate, kinds=("mlp_hidden",))
    small = prune(model, plan, groups)
    top, seconds = {}, {}
    for way in row.ways:
        options, started = WAYS[way], time.perf_counter()
        repaired = small if options is None else repair(small, model, plan, calibration, groups=groups, **options)[0]
        seconds[way] = time.perf_counter() - started
        top[way] = top1(repaired, held_out)
    kept = [len(plan.kept.get(group.name, range(group.units))) for group in groups if group.kind == "mlp_hidden"]
    return {
        "macs": groups.macs(plan.kept),
        "kept": kept,
        "top1": top,
        "score_seconds": scored,
        "repair_seconds": seconds,
    }


if __name__ == "__main__":
    main()
