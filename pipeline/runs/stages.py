"""The stages of a run, in their order: what each reads, what it writes, and what it does."""

from __future__ import annotations

from secateur.core.say import Say
from secateur.pipeline.recover.compensate import repair
from secateur.pipeline.recover.reconstruct import RECONSTRUCTION
from secateur.pipeline.recover.repairs_file import RepairsFile
from secateur.pipeline.runs import export_stage, plan_stage, profile_stage, score_stage, teach_stage
from secateur.pipeline.runs.bench_stage import bench_run
from secateur.pipeline.runs.declarations import (
    CalibrationImages,
    ClassNames,
    DenseModel,
    HeldOutImages,
    Machine,
    Output,
    Packages,
    Runtimes,
    recipe_parts,
)
from secateur.pipeline.runs.export_stage import build_run, export_run
from secateur.pipeline.runs.inputs import Inputs
from secateur.pipeline.runs.stage import Stage
from secateur.pipeline.structure.describe import describe
from secateur.pipeline.structure.storage import save
from secateur.pipeline.structure.surgery import prune


def _groups(inputs: Inputs, say: Say) -> list[str]:
    describe(inputs.groups).save(inputs.output("groups.json"))
    return ["groups.json"]


def _prune(inputs: Inputs, say: Say) -> list[str]:
    small = prune(inputs.dense, inputs.plan, inputs.groups)
    save(small, inputs.output("pruned"), overwrite=True)
    return ["pruned/structure.json", "pruned/model.safetensors"]


def _recover(inputs: Inputs, say: Say) -> list[str]:
    spec = inputs.recipe.recover
    small = inputs.model("pruned")
    written = []
    if spec.compensate:
        held_out = teach_stage.held_out_of(inputs)
        loader = inputs.calibration(spec.samples_per_class, spec.batch_size, held_out)
        say(f"ridge compensation on {loader.samples} images")
        groups, shared = inputs.groups, None if len(held_out) else inputs.shared_statistics
        small, repairs = repair(small, inputs.dense, inputs.plan, loader, spec, groups, shared)
        RepairsFile(repairs).save(inputs.output("repairs.json"))
        written.append("repairs.json")
    if teach_stage.teaches(spec):
        small, rebuilt = teach_stage.teach_together(inputs, small, say)
        if rebuilt is not None:
            rebuilt.save(inputs.output(RECONSTRUCTION))
            written.append(RECONSTRUCTION)
    save(small, inputs.output("model"), overwrite=True)
    return [*written, "model/structure.json", "model/model.safetensors"]


DENSE, IMAGES, HELD_OUT = DenseModel(), CalibrationImages(), HeldOutImages()
TRACED = Packages("torch", "timm")
"""What traces and runs a model."""
SCORES, PLAN = Output("score"), Output("plan")
PRUNED, SMALL = Output("prune", "pruned/*"), Output("recover", "model/*")
GRAPHS, ENGINES = Output("export"), Output("build")

STAGES = (
    Stage("groups", (DENSE, TRACED), _groups),
    Stage(
        "score",
        (DENSE, IMAGES, TRACED, *recipe_parts("score", "plan.kinds", "plan.skip", "seed", "task")),
        score_stage.score_together,
        keeps=score_stage.KEPT,
        help=score_stage.score_run,
    ),
    Stage(
        "profile",
        (DENSE, TRACED, *recipe_parts("budget.target", "plan.kinds", "plan.align", "bench.threads")),
        profile_stage.profile_run,
        keeps=(profile_stage.FILE, profile_stage.PART),
        also=profile_stage.reads_besides,
        wanted=plan_stage.by_latency,
    ),
    Stage(
        "plan",
        (DENSE, IMAGES, SCORES, TRACED, Packages("scipy", "optuna"), *recipe_parts("plan", "budget", "seed")),
        plan_stage.plan_run,
        also=plan_stage.reads_besides,
        keeps=plan_stage.KEPT,
    ),
    Stage("prune", (DENSE, PLAN, TRACED), _prune),
    Stage(
        "recover",
        (DENSE, IMAGES, PLAN, PRUNED, TRACED, *recipe_parts("recover", "seed", "task")),
        _recover,
        keeps=teach_stage.KEPT,
        help=teach_stage.help_teaching,
    ),
    Stage(
        "export",
        (DENSE, SMALL, ClassNames(), TRACED, Packages("onnx", "onnxscript", "onnxruntime"), *recipe_parts("export")),
        export_run,
        also=export_stage.reads_besides,
        keeps=export_stage.KEPT,
    ),
    Stage(
        "build",
        (GRAPHS, Packages("onnx"), Runtimes(), *recipe_parts("export", "bench")),
        build_run,
        keeps=("engines/*/timing.cache",),
    ),
    Stage(
        "bench",
        (
            *(DENSE, SMALL, GRAPHS, ENGINES, HELD_OUT, TRACED, Packages("fvcore"), Machine()),
            *recipe_parts("bench", "export", "seed", "task"),
        ),
        bench_run,
    ),
)
