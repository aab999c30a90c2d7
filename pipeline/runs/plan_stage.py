"""The plan stage: what stays, by the recipe's allocation, with the instruments that it measures with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from functools import partial

from torch import nn

from secateur.core.errors import PlanError
from secateur.core.files import sha256_json
from secateur.core.say import Say
from secateur.export.spec import quantization_for
from secateur.pipeline.analysis.product_losses import product_losses
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.plan.allocation import Allocation, Instruments, MaskLoss, Objective, find_allocation
from secateur.pipeline.plan.budget import WIDE
from secateur.pipeline.plan.evolution import Evolution
from secateur.pipeline.plan.joint import NARROW
from secateur.pipeline.plan.latency_table import LatencyTable
from secateur.pipeline.plan.make import make_plan
from secateur.pipeline.plan.mask_loss import mask_loss
from secateur.pipeline.plan.objective import divergence, remembered
from secateur.pipeline.plan.rounds import FILE, Repaired, plan_in_rounds
from secateur.pipeline.plan.xpruner import Xpruner
from secateur.pipeline.recover.compensate import compensate
from secateur.pipeline.recover.fast_repair import FastRepair
from secateur.pipeline.recover.spec import Compensation
from secateur.pipeline.runs.declarations import Declaration, Output, by_content, recipe_parts
from secateur.pipeline.runs.inputs import Inputs
from secateur.pipeline.runs.recipe import Recipe
from secateur.pipeline.scores.score import Scores, score
from secateur.pipeline.structure.cutting import cut
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.layers import groups_for
from secateur.pipeline.structure.plan import Plan

MEASURED = 64
"""How many calibration images a plan is measured on."""
KEPT = ("judged.*", "losses.json", "plan.db*", FILE)
"""What measuring, evolution and rounds leave in the run to go on with."""
CLOSED_FORM = tuple(item.name for item in fields(Compensation))
"""The keys of `recover` that say how a model is repaired in closed form."""
LATENCIES = Output("profile", "latency.json")


def plan_run(inputs: Inputs, say: Say) -> list[str]:
    """Writes `plan.json`; raises `PlanError` where a plan that may choose int8 has nothing in it to export so."""
    scores = Scores.load(inputs.path("scores.safetensors"))
    allocation = inputs.recipe.plan.allocation()
    given, groups = instruments(inputs, allocation, say), groups_for(allocation.kinds, inputs.groups)
    if inputs.recipe.plan.rounds == 1:
        plan = make_plan(groups, scores, inputs.recipe.budget, allocation, given)
    else:
        plan = _in_rounds(inputs, groups, scores, allocation, given)
    precisions = plan.facts.precisions if plan.facts is not None else {}
    if chooses_bits(inputs.recipe) and NARROW not in precisions.values():
        raise PlanError(
            f"no operation is worth {NARROW} under this budget: it saves too little for its cost in the answers; plan "
            f"with allocate: sensitivity, which gives the same units, and leave {NARROW} out of export.precisions"
        )
    plan.save(inputs.output("plan.json"))
    return ["plan.json"]


def _in_rounds(inputs: Inputs, groups: Groups, scores: Scores, allocation: Allocation, given: Instruments) -> Plan:
    """A plan in rounds, scored as the run scores; in between the run's repair in closed form, if it has one."""
    recipe, task, dense = inputs.recipe, inputs.model_task, inputs.dense
    spec, made = recipe.score, recipe.score.made()
    scoring = inputs.calibration(spec.samples_per_class, spec.batch_size)
    decides: list[object] = [_task(inputs), recipe.seed, by_content(asdict(spec)), recipe.recover.compensate]
    repaired: Repaired | None = None
    if recipe.recover.compensate:
        loader = inputs.calibration(recipe.recover.samples_per_class, recipe.recover.batch_size)
        chosen = Compensation(**{key: getattr(recipe.recover, key) for key in CLOSED_FORM})
        decides += [recipe.recover.samples_per_class, recipe.recover.batch_size, chosen]

        def repaired(plan: Plan) -> nn.Module:
            return compensate(cut(dense, groups, plan), dense, plan, loader, chosen, groups)

    def rescore(current: nn.Module, some: Groups) -> Scores:
        return score(current, some, scoring, made, recipe.seed, task=spec.explained(task))

    given = replace(given, identity=sha256_json([given.identity, *decides]))
    return plan_in_rounds(
        dense, groups, scores, recipe.budget, rescore, repaired, recipe.plan.rounds, allocation, given
    )


def reads_besides(recipe: Recipe) -> Sequence[Declaration]:
    """What a plan depends on besides, by its allocation and budget."""
    parts: list[str] = []
    if find_allocation(recipe.plan.allocate).needs:
        parts.append("task")
    if "objective" in find_allocation(recipe.plan.allocate).needs:
        parts.append("recover.batch_size")
        if recipe.plan.allocate != "evolution":  # which always repairs
            parts.append("recover.compensate")
    if chooses_bits(recipe):
        parts += ["export.quantize", "export.targets"]
    if recipe.plan.rounds > 1:
        parts += ["task", "score", "recover.compensate"]
        if recipe.recover.compensate:
            parts += [f"recover.{key}" for key in (*CLOSED_FORM, "samples_per_class", "batch_size")]
    return [*recipe_parts(*parts), *([LATENCIES] if by_latency(recipe) else [])]


def by_latency(recipe: Recipe) -> bool:
    """Whether the budget is a latency, so that a table of the target is needed."""
    return recipe.budget.measure == "latency"


def chooses_bits(recipe: Recipe) -> bool:
    """Whether the plan says which operations are in int8."""
    return "precision_losses" in find_allocation(recipe.plan.allocate).needs


def wide_type(recipe: Recipe) -> str:
    """The type of what is not in 8 bits in the graphs that follow a plan of bits."""
    return quantization_for(recipe.export.quantize, recipe.export.targets).rest


def instruments(inputs: Inputs, allocation: Allocation, say: Say) -> Instruments:
    """What an allocation may measure with in a run: nothing is made that it does not need."""
    return Instruments(
        objective=objective(inputs, allocation, say) if "objective" in allocation.needs else None,
        mask_loss=_mask_loss(inputs, allocation) if "mask_loss" in allocation.needs else None,
        precision_losses=_precision_losses(inputs, say) if "precision_losses" in allocation.needs else None,
        latencies=LatencyTable.load(inputs.path("latency.json")) if by_latency(inputs.recipe) else None,
        wide=wide_type(inputs.recipe) if chooses_bits(inputs.recipe) else WIDE,
        seed=inputs.recipe.seed,
        identity=sha256_json(inputs.model_and_images),
        folder=inputs.working_folder,
        say=say,
    )


def objective(inputs: Inputs, allocation: Allocation, say: Say) -> Objective:
    """The divergence of candidates on calibration images.

    `evolution` says on how many, and its study keeps the values. Others measure on MEASURED images, repaired where the
    run repairs in closed form; these values do not depend on the budget, and the runs of a sweep share them.
    """
    if isinstance(allocation, Evolution):
        return _repaired(inputs, say, allocation.images)
    recover = inputs.recipe.recover
    make = partial(_repaired, inputs, say, MEASURED) if recover.compensate else partial(_unrepaired, inputs, say)
    by = [inputs.model_and_images, _task(inputs), inputs.recipe.seed, inputs.recipe.plan.kinds, MEASURED]
    return remembered(make, inputs.working_file("judged.json"), sha256_json([*by, recover.compensate]))


def _task(inputs: Inputs) -> object:
    """What decides what the model is for: the recipe's task, and the source of functions that it names."""
    return by_content(asdict(inputs.recipe.task))


def _unrepaired(inputs: Inputs, say: Say) -> Objective:
    """The divergence of candidates as surgery leaves them."""
    per_class = max(1, MEASURED // inputs.calibration_images.strata)
    loader = inputs.calibration(per_class, MEASURED)
    images = next(iter(loader))
    say(f"measuring plans on {len(images[0])} images")
    return divergence(inputs.dense, inputs.groups, [images], task=inputs.model_task)


def _repaired(inputs: Inputs, say: Say, count: int) -> Objective:
    """The divergence of candidates that inherit from the dense model, on calibration images that this leaves out."""
    from secateur.pipeline.runs.search_run import split  # Optuna is slow to import

    images, recipe = inputs.calibration_images, inputs.recipe
    share = min(0.5, count / len(images))
    statistics, measured = split(images.labels, share, recipe.seed)
    say(f"measuring candidates on {len(measured)} images, with statistics from {len(statistics)}")
    transform, batch_size = inputs.transform, recipe.recover.batch_size
    seen = Loader(images, transform, batch_size, statistics)
    small = FastRepair(inputs.dense, inputs.groups, recipe.plan.kinds, seen)
    judged = Loader(images, transform, batch_size, measured)
    return divergence(inputs.dense, inputs.groups, judged, small, inputs.model_task)


def _precision_losses(inputs: Inputs, say: Say) -> dict[str, float]:
    """What the dense model loses where one operation alone is in int8, on calibration images that calibrate it."""
    spec = inputs.recipe.export.quantize
    calibration = inputs.calibration(spec.samples_per_class, spec.batch_size)
    few = inputs.limit_images(spec, MEASURED)[1]
    source = [*inputs.model_and_images, inputs.recipe.seed, asdict(spec), MEASURED]
    task, classes, trials = inputs.model_task, inputs.calibration_images.classes, inputs.working_file("losses.json")
    options = replace(spec, ends=True, rest="fp32")
    return product_losses(inputs.dense, inputs.groups, calibration, few, task, classes, options, trials, source, say)


def _mask_loss(inputs: Inputs, allocation: Allocation) -> MaskLoss:
    """What soft masks cost on calibration images of each class."""
    spec = allocation if isinstance(allocation, Xpruner) else Xpruner()
    per_class = -(-spec.images // inputs.calibration_images.strata)
    loader = inputs.calibration(per_class, spec.batch_size)
    return mask_loss(
        inputs.dense, inputs.groups, loader, spec.loss, spec.batch_size, inputs.recipe.seed, inputs.model_task
    )
