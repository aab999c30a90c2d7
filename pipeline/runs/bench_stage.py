"""The bench stage: accuracy on the held-out images, and cost and latency of both models, paired."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import nn

from secateur.benchmarks.bench import Effort, bench_pair
from secateur.benchmarks.runners import Subject
from secateur.export.targets import parse_target
from secateur.pipeline.analysis.accuracy import top1
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.export_stage import engines_folder, onnx_name, skipped_builds
from secateur.pipeline.structure.storage import load

Say = Callable[[str], None]


def bench_run(run: Run, say: Say) -> list[str]:
    """Writes `bench.json`: top-1 of both on the held-out split, and their latency on every target of the recipe."""
    spec = run.recipe.bench
    held_out = run.evaluation()
    sides = {"dense": run.dense, "pruned": load(run.folder / "model")}
    subjects = {}
    for side, model in sides.items():
        say(f"accuracy of the {side} model on {held_out.samples} held-out images")
        subjects[side] = _subject(run, side, model, top1(model, held_out))
    effort = Effort(seconds=spec.seconds, threads=spec.threads, seed=run.recipe.seed)
    result = bench_pair(subjects["dense"], subjects["pruned"], spec.targets, spec.batch, effort, held_out.samples, say)
    missing = {target: reason for target, reason in skipped_builds(run.folder).items() if target in spec.targets}
    result = replace(result, skipped={**result.skipped, **missing})
    result.save(run.folder / "bench.json")
    return ["bench.json"]


def _subject(run: Run, side: str, model: nn.Module, accuracy: float) -> Subject:
    """What of one side can be measured: the module, its ONNX file, and the engines that were built of it."""
    targets = [parse_target(name) for name in run.recipe.bench.targets]
    folders = {str(target): engines_folder(run.folder, side) / target.folder for target in targets}
    return Subject(
        name=side,
        module=model,
        input_shape=run.groups.input_shape,
        onnx=run.folder / onnx_name(side, "fp32"),
        engines={name: folder for name, folder in folders.items() if (folder / "engine.json").is_file()},
        top1=accuracy,
    )
