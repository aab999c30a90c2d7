"""A latency budget on DeiT-Tiny: what the table of its target predicts, and what the small model then takes.

`python -m secateur_studies.latency_plan --data ../shared/data` profiles the dense model, plans by knapsack for a
latency, prunes, and measures the small model in turns with the dense one.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
from secateur_studies.peer_tasks import deit_tiny
from torch import nn

from secateur.benchmarks.environment import environment
from secateur.benchmarks.paired import PairedSamples, measure_pair
from secateur.benchmarks.runners import Subject, make_runner
from secateur.core.files import write_json
from secateur.core.input_spec import InputSpec
from secateur.export.to_onnx import export_onnx
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.plan.allocation import DEFAULT_KINDS, Instruments
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.latency_profile import profile
from secateur.pipeline.plan.make import make_plan
from secateur.pipeline.scores.score import score
from secateur.pipeline.structure.surgery import prune

SCORED = 50


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Weights and images.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/latency_plan.json"))
@click.option("--target", default="onnxruntime:cpu", show_default=True)
@click.option("--latency", default=0.6, show_default=True, help="The share of the dense latency that stays.")
@click.option("--seconds", default=6.0, show_default=True, help="For each width, and for the small model.")
@click.option("--threads", default=1, show_default=True)
def main(data: Path, out: Path, target: str, latency: float, seconds: float, threads: int) -> None:
    """Profiles, plans, prunes, measures and writes the comparison."""
    subject = deit_tiny(data)
    model, groups = subject.model, subject.groups
    images = Loader(subject.images, subject.transform, 25, range(SCORED))
    prunable = tuple(group for group in groups if group.kind in DEFAULT_KINDS)
    scores = score(model, replace(groups, groups=prunable), images, "obs")
    table = profile(
        model, groups, target, DEFAULT_KINDS, seconds=seconds, threads=threads, say=partial(click.echo, err=True)
    )
    budget = Budget(latency=latency, target=target)
    plan = make_plan(groups, scores, budget, "knapsack", Instruments(latencies=table))
    small = prune(model, plan, groups)
    found = measured(model, small, groups.inputs, target, seconds, threads)
    predicted, ratio = table.predict_ms(groups, plan.kept) / table.dense_ms, found.interval()
    content: dict[str, Any] = {
        "command": f"python -m secateur_studies.latency_plan --data DATA --target {target} --latency {latency:g} "
        f"--seconds {seconds:g} --threads {threads}",
        "environment": asdict(environment(threads)),
        "model": "deit_tiny_patch16_224",
        "asked_share_of_dense": latency,
        "predicted_share_of_dense": predicted,
        "measured_share_of_dense": {"share": 1 / ratio.ratio, "low": 1 / ratio.high, "high": 1 / ratio.low},
        "off_by": predicted * ratio.ratio - 1,
        "macs_share_of_dense": groups.macs(plan.kept) / groups.macs(),
        "kept": {name: len(units) for name, units in plan.kept.items()},
        "table": asdict(table),
        "samples_ms": {"dense": found.a_ms, "small": found.b_ms},
    }
    write_json(out, "latency_plan", content)
    click.echo({key: content[key] for key in ("predicted_share_of_dense", "measured_share_of_dense", "off_by")})


def measured(
    dense: nn.Module, small: nn.Module, inputs: InputSpec, target: str, seconds: float, threads: int
) -> PairedSamples:
    """The times of both models on `target`, which runs ONNX or modules, in turns."""
    with tempfile.TemporaryDirectory() as folder:
        sides = []
        for name, model in (("dense", dense), ("small", small)):
            path = Path(folder) / f"{name}.onnx"
            export_onnx(model, path, inputs.draw())
            subject = Subject(name, module=model, onnx=path, inputs=inputs)
            sides.append(make_runner(subject, target, 1, threads))
        try:
            return measure_pair(sides[0], sides[1], seconds=seconds)
        finally:
            for side in sides:
                side.close()


if __name__ == "__main__":
    main()
