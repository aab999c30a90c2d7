"""The stages of a run, in their order: what each reads, what it writes, and what it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from secateur.core.files import sha256_json, write_json
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.models.inputs import transform_for
from secateur.pipeline.plan.allocation import Allocation, Instruments, MaskLoss, Objective, find_allocation
from secateur.pipeline.plan.evolution import Evolution
from secateur.pipeline.plan.latency_profile import profile
from secateur.pipeline.plan.latency_table import LatencyTable
from secateur.pipeline.plan.make import make_plan
from secateur.pipeline.plan.mask_loss import mask_loss
from secateur.pipeline.plan.objective import divergence, remembered
from secateur.pipeline.plan.xpruner import Xpruner
from secateur.pipeline.recover.compensate import repair
from secateur.pipeline.recover.fast_repair import FastRepair
from secateur.pipeline.runs.bench_stage import bench_run
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.distill_stage import distill_together
from secateur.pipeline.runs.export_stage import build_run, export_run
from secateur.pipeline.runs.recipe import plain
from secateur.pipeline.runs.score_stage import score_together
from secateur.pipeline.scores.score import Scores
from secateur.pipeline.structure.describe import describe
from secateur.pipeline.structure.storage import load, save
from secateur.pipeline.structure.surgery import prune

Say = Callable[[str], None]
MEASURED = 64
"""How many calibration images a plan is measured on."""


@dataclass(frozen=True)
class Stage:
    """One stage: the earlier stages whose outputs it reads, the parts of the recipe that it heeds, what it does.

    `execute` returns the paths that it wrote, relative to the run directory, and says in between what it is doing.
    `identity` adds what else decides its result (weights, images).
    """

    name: str
    after: tuple[str, ...]
    execute: Callable[[Run, Say], list[str]]
    heeds: tuple[str, ...] = ()
    identity: Callable[[Run], Mapping[str, Any]] = lambda run: {}

    def inputs(self, run: Run) -> dict[str, Any]:
        """Everything besides earlier stages' outputs that decides this stage's result, as plain values."""
        recipe = plain(run.recipe)
        return {"stage": self.name, **{key: recipe[key] for key in self.heeds}, **self.identity(run)}


def _groups(run: Run, say: Say) -> list[str]:
    write_json(run.folder / "groups.json", "groups", describe(run.groups))
    return ["groups.json"]


def _plan(run: Run, say: Say) -> list[str]:
    scores = Scores.load(run.folder / "scores.safetensors")
    allocation = run.recipe.plan.allocation()
    plan = make_plan(run.groups, scores, run.recipe.budget, allocation, _instruments(run, allocation, say))
    plan.save(run.folder / "plan.json")
    return ["plan.json"]


def _instruments(run: Run, allocation: Allocation, say: Say) -> Instruments:
    """What an allocation may measure with in a run: nothing is made that it does not need."""
    return Instruments(
        objective=_objective(run, allocation, say) if "objective" in allocation.needs else None,
        mask_loss=_mask_loss(run, allocation) if "mask_loss" in allocation.needs else None,
        latencies=_latencies(run, say) if run.recipe.budget.measure == "latency" else None,
        seed=run.recipe.seed,
        identity=sha256_json([run.model_identity, run.data.calibration.fingerprint()]),
        folder=run.folder,
        say=say,
    )


def _latencies(run: Run, say: Say) -> LatencyTable:
    """The latency table of the run, measured now unless `secateur profile` has done so."""
    path, target = run.folder / "latency.json", str(run.recipe.budget.target)
    if path.exists() and (table := LatencyTable.load(path)).target == target:
        return table
    spec, threads = run.recipe.plan, run.recipe.bench.threads
    table = profile(run.dense, run.groups, target, spec.kinds, align=spec.align, threads=threads, say=say)
    table.save(path)
    return table


def _objective(run: Run, allocation: Allocation, say: Say) -> Objective:
    """The divergence of candidates on calibration images.

    `evolution` says on how many, and its study keeps the values. Others measure on MEASURED images, repaired where the
    run repairs in closed form; these values do not depend on the budget, and the runs of a sweep share them.
    """
    if isinstance(allocation, Evolution):
        return _repaired(run, say, allocation.images)
    make = partial(_repaired, run, say, MEASURED) if run.recipe.recover.compensate else partial(_unrepaired, run, say)
    identity = sha256_json([run.model_identity, _plan_identity(run), run.recipe.seed, MEASURED])
    return remembered(make, (run.lender or run).folder / "judged.json", identity)


def _unrepaired(run: Run, say: Say) -> Objective:
    """The divergence of candidates as surgery leaves them."""
    per_class = max(1, MEASURED // len(run.data.calibration.classes))
    loader = run.calibration(per_class, MEASURED)
    images = next(iter(loader))
    say(f"measuring plans on {len(images[0])} images")
    return divergence(run.dense, run.groups, [images])


def _repaired(run: Run, say: Say, count: int) -> Objective:
    """The divergence of candidates that inherit from the dense model, on calibration images that this leaves out."""
    from secateur.pipeline.runs.search_run import split  # Optuna is slow to import

    images, spec = run.data.calibration, run.recipe.plan
    share = min(0.5, count / len(images))
    statistics, measured = split(images.labels, share, run.recipe.seed)
    say(f"measuring candidates on {len(measured)} images, with statistics from {len(statistics)}")
    transform, batch_size = transform_for(run.dense), run.recipe.recover.batch_size
    small = FastRepair(run.dense, run.groups, spec.kinds, Loader(images, transform, batch_size, statistics))
    return divergence(run.dense, run.groups, Loader(images, transform, batch_size, measured), small)


def _mask_loss(run: Run, allocation: Allocation) -> MaskLoss:
    """What soft masks cost on calibration images of each class."""
    spec = allocation if isinstance(allocation, Xpruner) else Xpruner()
    per_class = -(-spec.images // len(run.data.calibration.classes))
    loader = run.calibration(per_class, spec.batch_size)
    return mask_loss(run.dense, run.groups, loader, spec.loss, spec.batch_size, run.recipe.seed)


def _prune(run: Run, say: Say) -> list[str]:
    small = prune(run.dense, run.plan, run.groups)
    save(small, run.folder / "pruned")
    return ["pruned/structure.json", "pruned/model.safetensors"]


def _recover(run: Run, say: Say) -> list[str]:
    spec = run.recipe.recover
    small = load(run.folder / "pruned")
    written = []
    if spec.compensate:
        loader = run.calibration(spec.samples_per_class, spec.batch_size)
        say(f"ridge compensation on {loader.samples} images")
        shared = run.lender.statistics if run.lender else None
        small, repairs = repair(small, run.dense, run.plan, loader, spec, run.groups, shared)
        write_json(run.folder / "repairs.json", "repairs", {"layers": [asdict(found) for found in repairs]})
        written.append("repairs.json")
    if spec.distill.epochs:
        small = distill_together(run, small, say)
    save(small, run.folder / "model")
    return [*written, "model/structure.json", "model/model.safetensors"]


def _calibration_images(run: Run) -> dict[str, Any]:
    return {"images": run.data.calibration.fingerprint(), "classes": len(run.data.calibration.classes)}


def _plan_identity(run: Run) -> dict[str, Any]:
    allocate = run.recipe.plan.allocate
    measures = allocate != "evolution" and "objective" in find_allocation(allocate).needs  # `evolution` always repairs
    repaired = {"repaired": run.recipe.recover.compensate} if measures else {}
    return {**_calibration_images(run), **repaired}


def held_out_images(run: Run) -> dict[str, Any]:
    return {"images": run.data.evaluation.fingerprint()}


STAGES = (
    Stage("groups", (), _groups, identity=lambda run: {"model": run.model_identity}),
    Stage("score", ("groups",), score_together, ("score", "seed"), _calibration_images),
    Stage("plan", ("groups", "score"), _plan, ("plan", "budget", "seed"), _plan_identity),
    Stage("prune", ("plan",), _prune),
    Stage("recover", ("prune",), _recover, ("recover", "seed"), _calibration_images),
    Stage("export", ("recover",), export_run, ("export",)),
    Stage("build", ("export",), build_run, ("export", "bench")),
    Stage("bench", ("export", "build"), bench_run, ("bench", "export"), held_out_images),
)
NAMES = tuple(stage.name for stage in STAGES)
