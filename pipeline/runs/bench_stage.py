"""The bench stage: accuracy on the held-out images, and cost and latency of both models, paired."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from secateur.benchmarks.bench import bench_pair
from secateur.benchmarks.effort import Effort
from secateur.benchmarks.keys import split_key
from secateur.benchmarks.modes.mode import without_mode
from secateur.benchmarks.narrow import with_narrowed
from secateur.benchmarks.results_file import BenchResult
from secateur.benchmarks.runners import Subject
from secateur.core.errors import EngineError
from secateur.core.input_spec import InputSpec
from secateur.core.say import Say
from secateur.export.artefacts import BuildFile, ExportFile
from secateur.export.engine_info import EngineInfo
from secateur.export.engines import open_engine
from secateur.export.targets import TypedTarget, parse_target, typed_targets
from secateur.pipeline.analysis.accuracy import chance_warning, compared, measured
from secateur.pipeline.analysis.engine_accuracy import BATCH, measured_engine
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.models.inputs import input_shape
from secateur.pipeline.runs.declarations import Output
from secateur.pipeline.runs.export_stage import engines_folder, graphs_of, onnx_name
from secateur.pipeline.runs.inputs import Inputs
from secateur.pipeline.tasks.metric import Meter

_log = logging.getLogger(__name__)


def bench_run(inputs: Inputs, say: Say) -> list[str]:
    """Writes `bench.json`: the task's metrics of both on the held-out split, and their latency on all targets.

    Every precision that was exported is measured, and 8 bits in turns with the fastest wider one; what an engine in
    another precision than fp32 has right is measured by running it. Raises
    `BenchError` where no target can be measured here.
    """
    recipe, spec = inputs.recipe, inputs.recipe.bench
    held_out, folder = inputs.evaluation(), inputs.folder_of(Output("export"), Output("build"))
    goals = typed_targets(spec.targets, recipe.export.precisions)
    sides = {"dense": inputs.dense, "pruned": inputs.model("model")}
    task, classes, subjects, reached = inputs.model_task, inputs.held_out_images.classes, {}, {}
    for side, model in sides.items():
        say(f"metrics of the {side} model on {held_out.samples} held-out images")
        reached[side] = measured(model, held_out, task, classes)
        top1 = reached[side].metrics()[0].value if task.classifies else None
        if side == "dense" and top1 is not None and (said := chance_warning(top1, len(classes), held_out.samples)):
            _log.warning(said)
        subjects[side] = replace(
            forms_of(folder, side),
            name=side,
            module=model,
            inputs=InputSpec.shaped(input_shape(inputs.dense)),
            top1=top1,
        )
    effort = Effort.of(spec, recipe.seed)
    result = bench_pair(subjects["dense"], subjects["pruned"], goals, spec.batch, effort, held_out.samples, say)
    result = with_narrowed(result, subjects["pruned"], goals, spec.batch, effort, say)
    first, *others = compared(reached["dense"], reached["pruned"], classes)
    result = replace(result, metric=first, other_metrics=tuple(others), parity=_parity(folder))
    result = _with_engines(result, inputs, subjects["pruned"], goals, reached["dense"], say)
    result.save(inputs.output("bench.json"))
    return ["bench.json"]


def _with_engines(
    result: BenchResult, inputs: Inputs, pruned: Subject, goals: Iterable[TypedTarget], dense: Meter, say: Say
) -> BenchResult:
    """The result with what each engine has right that was built, or is in another precision than the model.

    An engine that cannot run the images is noted with the reason.
    """
    images, transform, task = inputs.held_out_images, inputs.transform, inputs.model_task
    raw = replace(transform, mean=(0.0,) * len(transform.mean), std=(1 / 255,) * len(transform.std))
    loader, pixels = (Loader(images, one, BATCH) for one in (transform, raw))
    there = {without_mode(split_key(key)[0]) for key in result.speedup}
    accuracy, notes = {}, []
    for goal in goals:
        form = pruned.form(goal)
        if (
            str(goal) not in there
            or not isinstance(form, Path)
            or not (goal.precision != "fp32" or goal.target.needs_build)
        ):
            continue
        say(f"metrics of {goal} on {loader.samples} held-out images")
        assert pruned.module is not None  # for the type checker: a run has its models
        try:
            with open_engine(form, goal.target, threads=inputs.recipe.bench.threads) as engine:
                meter = measured_engine(engine, pruned.module, loader, task, images.classes, pixels)
        except EngineError as error:
            notes.append(f"{goal}: what this engine has right was not measured ({error})")
            continue
        accuracy[str(goal)] = compared(dense, meter, images.classes)[0]
    return replace(result, accuracy=accuracy, notes=(*result.notes, *notes))


def _parity(folder: Path) -> dict[str, float]:
    """By precision, how far the pruned side's graph was from PyTorch when it was written, where that was looked at."""
    graphs = ExportFile.load(folder).files if (folder / ExportFile.NAME).is_file() else {}
    return {
        graph.info.precision: graph.parity.worst.relative
        for name, graph in graphs.items()
        if graph.parity is not None and name == onnx_name("pruned", graph.info.precision)
    }


def forms_of(folder: Path, side: str) -> Subject:
    """The ONNX files and engines of one side of a run, in every precision, as export.json and build.json list them.

    Engines of ONNX Runtime are the ONNX files themselves and are left out. The size is that of the ONNX file in fp32.
    """
    graphs = list(graphs_of(folder, side).values()) if (folder / ExportFile.NAME).is_file() else []
    typed = {info.precision: info.path for info in graphs}
    built = BuildFile.load(folder) if (folder / BuildFile.NAME).is_file() else BuildFile()
    place = engines_folder(folder, side)
    return Subject(
        f"{folder} ({side})",
        onnx=typed.get("fp32"),
        typed_onnx={precision: path for precision, path in typed.items() if precision != "fp32"},
        engines=engines_of(one for one in built.engines(folder) if one.parent == place),
        size_bytes=next((info.size_bytes for info in graphs if info.precision == "fp32"), None),
        absent=built.skipped,
    )


def engines_of(folders: Iterable[Path]) -> dict[str, Path]:
    """The engines in `folders` by target and precision, but for those of ONNX Runtime.

    Raises `EngineError` for a file that is not the one that was built.
    """
    infos = [EngineInfo.load(folder) for folder in folders]
    for info in infos:
        info.check_file()
    goals = {TypedTarget(parse_target(info.target), info.precision): info.path for info in infos}
    return {str(goal): path for goal, path in goals.items() if goal.target.needs_build}
