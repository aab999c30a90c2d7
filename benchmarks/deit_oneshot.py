"""One-shot pruning of DeiT-Tiny on real weights and images: every score, with and without ridge compensation.

`python -m secateur.benchmarks.deit_oneshot --data ../shared/data` removes half of all MLP hidden units by each score
and measures top-1 on held-out images before and after compensation; the statistics come from other images.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import click
import torch

from secateur.pipeline.data.dataset import open_data
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.data.spec import DataSpec
from secateur.pipeline.files import write_json
from secateur.pipeline.models import create_model, input_shape, transform_for
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.make import make_plan
from secateur.pipeline.recover.compensate import compensate
from secateur.pipeline.runs.evaluate import top1
from secateur.pipeline.scores.score import score
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.surgery import example_for, prune

MODEL = "deit_tiny_patch16_224"


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of weights and images."
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/deit_tiny_oneshot.json"))
@click.option("--methods", default="random,magnitude,activation,taylor", show_default=True)
@click.option("--allocate", default="uniform", show_default=True)
@click.option("--keep", default=0.5, show_default=True, help="The fraction of the MLP hidden units that stays.")
def main(data: Path, out: Path, methods: str, allocate: str, keep: float) -> None:
    """Measures and writes the table, row by row."""
    from secateur.benchmarks.environment import environment

    model = create_model(MODEL, weights=str(data / f"weights/{MODEL}.safetensors"))
    images = open_data(
        DataSpec(calibration=str(data / "imagenet-train1000"), evaluation=str(data / "imagenet-val1000"))
    )
    calibration = Loader(images.calibration, transform_for(model), 32)
    held_out = Loader(images.evaluation, transform_for(model), 50)
    groups = find_groups(model, example_for(model, input_shape(model)))
    dense = top1(model, held_out)
    rows: list[dict[str, Any]] = []
    for method in methods.split(","):
        started = time.perf_counter()
        scores = score(model, groups, calibration, method)
        scored = time.perf_counter()
        plan = make_plan(groups, scores, Budget(units=keep), allocate=allocate, kinds=("mlp_hidden",))
        small = prune(model, plan, groups)
        cut = time.perf_counter()
        repaired = compensate(small, model, plan, calibration, ridge=1e-3, groups=groups, front_to_back=False)
        done = time.perf_counter()
        row: dict[str, Any] = {
            "score": method,
            "macs": groups.macs(plan.kept),
            "params": groups.params(plan.kept),
            "top1_pruned": top1(small, held_out),
            "top1_compensated": top1(repaired, held_out),
            "score_seconds": scored - started,
            "plan_and_surgery_seconds": cut - scored,
            "compensate_seconds": done - cut,
        }
        rows.append({**row, "compensated_share_of_dense": row["top1_compensated"] / dense})
        click.echo(f"{method}: {row['top1_pruned']:.1f} -> {row['top1_compensated']:.1f} of {dense:.1f}", err=True)
        content = {
            "command": f"python -m secateur.benchmarks.deit_oneshot --data DATA --allocate {allocate} --keep {keep}",
            "environment": environment(),
            "threads": torch.get_num_threads(),
            "model": MODEL,
            "removed": f"{1 - keep:.0%} of the MLP hidden units",
            "allocate": allocate,
            "calibration_images": calibration.samples,
            "held_out_images": held_out.samples,
            "standard_error_points": 100 * math.sqrt(dense / 100 * (1 - dense / 100) / held_out.samples),
            "dense": {"top1": dense, "macs": groups.macs(), "params": groups.params()},
            "rows": rows,
        }
        write_json(out, "oneshot", content)


if __name__ == "__main__":
    main()
