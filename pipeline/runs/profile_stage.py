"""The profile stage, of runs with a latency budget: latency.json, measured unless a table that fits is there.

A table is a measurement of a device, which need not be this machine: `secateur profile` makes it there, and it stays
until the model, the target, the kinds of units, the precisions or the number of threads are others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from secateur.core.say import Say
from secateur.export.quantize.spec import QuantizeSpec
from secateur.export.spec import quantization_for
from secateur.export.targets import parse_target
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.plan.joint import NARROW
from secateur.pipeline.plan.latency_profile import profile
from secateur.pipeline.plan.latency_table import LatencyTable
from secateur.pipeline.runs.declarations import CalibrationImages, Declaration, recipe_parts
from secateur.pipeline.runs.inputs import Inputs
from secateur.pipeline.runs.plan_stage import chooses_bits, wide_type
from secateur.pipeline.runs.recipe import Recipe

FILE = "latency.json"
PART = "latency.part.json"
"""What a profile that was stopped has measured."""
IMAGES = 8
"""Calibration images of graphs that are only timed."""


def profile_run(inputs: Inputs, say: Say) -> list[str]:
    """Writes `latency.json`, or keeps the one that is there for this run."""
    path, recipe = inputs.working_file(FILE), inputs.recipe
    if not (path.exists() and _fits(LatencyTable.load(path), inputs)):
        target, spec = str(recipe.budget.target), recipe.plan
        threads = recipe.bench.threads
        eight = eight_bits(recipe, inputs.limit_images) if _times_bits(inputs) else {}
        table = profile(
            *(inputs.dense, inputs.groups, target, spec.kinds),
            align=spec.align,
            threads=threads,
            say=say,
            keep=inputs.working_file(PART),
            **eight,
        )
        table.save(path)
    return [FILE]


def reads_besides(recipe: Recipe) -> Sequence[Declaration]:
    """What a table depends on besides where the plan chooses bits."""
    if not chooses_bits(recipe):
        return ()
    return (CalibrationImages(), *recipe_parts("export.quantize", "export.targets", "seed"))


def eight_bits(recipe: Recipe, limit_images: Callable[[QuantizeSpec, int], tuple[Loader, Loader]]) -> dict[str, Any]:
    """What `profile` is given to time operations in int8 as the recipe's graphs have them, for a plan of bits."""
    spec = recipe.export.quantize
    return {
        "precisions": (NARROW,),
        "calibration": limit_images(spec, IMAGES)[1],
        "options": quantization_for(spec, recipe.export.targets),
    }


def _times_bits(inputs: Inputs) -> bool:
    """Whether times in 8 bits are needed: only then the stage declares the images that their graphs are made from."""
    return CalibrationImages() in inputs.reads


def _fits(table: LatencyTable, inputs: Inputs) -> bool:
    """Whether a table is of this run's model, target, kinds of units, precisions and threads."""
    recipe, groups = inputs.recipe, inputs.groups
    target, threads = str(recipe.budget.target), recipe.bench.threads
    wanted = {group.family or group.name for group in groups if group.kind in recipe.plan.kinds}
    on_cpu = parse_target(target).device == "cpu"
    return (
        table.target == target
        and table.fingerprint == groups.fingerprint()
        and wanted <= {curve.family for curve in table.curves}
        and (threads is None or not on_cpu or table.environment.threads == threads)
        and (not _times_bits(inputs) or table.has(wide_type(recipe), NARROW))
    )
