"""The profile stage, of runs with a latency budget: latency.json, measured unless a table that fits is there.

A table is a measurement of a device, which need not be this machine: `secateur profile` makes it there, and it stays
until the model, the target, the kinds of units or the number of threads are others.
"""

from __future__ import annotations

from collections.abc import Callable

from secateur.export.targets import parse_target
from secateur.pipeline.plan.latency_profile import profile
from secateur.pipeline.plan.latency_table import LatencyTable
from secateur.pipeline.runs.inputs import Inputs

FILE = "latency.json"


def profile_run(inputs: Inputs, say: Callable[[str], None]) -> list[str]:
    """Writes `latency.json`, or keeps the one that is there for this run."""
    path, recipe = inputs.working_file(FILE), inputs.recipe
    if not (path.exists() and _fits(LatencyTable.load(path), inputs)):
        target, spec = str(recipe.budget.target), recipe.plan
        threads = recipe.bench.threads
        table = profile(inputs.dense, inputs.groups, target, spec.kinds, align=spec.align, threads=threads, say=say)
        table.save(path)
    return [FILE]


def _fits(table: LatencyTable, inputs: Inputs) -> bool:
    """Whether a table is of this run's model, target, kinds of units and threads."""
    recipe, groups = inputs.recipe, inputs.groups
    target, threads = str(recipe.budget.target), recipe.bench.threads
    wanted = {group.family or group.name for group in groups if group.kind in recipe.plan.kinds}
    on_cpu = parse_target(target).device == "cpu"
    return (
        table.target == target
        and table.fingerprint == groups.fingerprint()
        and wanted <= {curve.family for curve in table.curves}
        and (threads is None or not on_cpu or table.environment.threads == threads)
    )
