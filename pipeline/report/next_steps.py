"""What to run next, as commands with the run's own path, by what was found."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass

from secateur.pipeline.report.certainty import change_of
from secateur.pipeline.report.findings import Findings
from secateur.pipeline.report.table import faster


@dataclass(frozen=True)
class NextStep:
    """A command as one would type it, and what it is for."""

    command: str
    why: str


def next_steps(found: Findings) -> list[NextStep]:
    """The commands that follow from what was found, the most pressing first."""
    run, bench, recipe = str(found.folder), found.bench, found.recipe
    steps = []
    if not bench.speedup:
        steps.append(
            _step("No latency was measured: measure it on this machine.", "bench", run, "--target", "torch:cpu")
        )
    if slow := [target for target, one in bench.speedup.items() if faster(one) != "gain"]:
        why = f"It is not shown to be faster on {', '.join(slow)}: measure for longer."
        steps.append(_step(why, "report", run, "--all", "--set", f"bench.seconds={recipe.bench.seconds * 4:g}"))
        if found.layers is None:
            why = "Find the layers that lost MACs but no time, and why."
            steps.append(_step(why, "profile", run, "--layers"))
    judged = bench.judged
    lost = judged is not None and change_of(judged, bench.evaluation_images).judged == "loss"
    if lost and not recipe.recover.distill.epochs:
        why = "Accuracy was lost: let the dense model teach the pruned one."
        steps.append(_step(why, "report", run, "--all", "--set", "recover.distill.epochs=10"))
    if lost or found.sweep is None:
        why = "Find how much can go before accuracy does: a sweep of budgets, with one page for all of them."
        sweep = ("sweep", f"{run}/recipe.yaml", "--budgets", "0.8,0.6,0.4", "--out", f"{run.rstrip('/')}-sweep")
        steps.append(_step(why, *sweep))
    if found.not_built or bench.skipped:
        steps.append(_step("Something was left out (see below): ask what this machine can do.", "doctor"))
    gains = [one.low for one in bench.speedup.values() if faster(one) == "gain"]
    if gains and len(gains) == len(bench.speedup):
        floor = max(math.floor(10 * min(gains)) / 10, 1.0)
        why = f"Keep it fast: let CI fail where it is less than {floor:g} times as fast as the dense model."
        steps.append(_step(why, "gate", f"{run}/bench.json", "--min-speedup", f"{floor:g}"))
    if found.graphs:
        steps.append(_step("Take it to a device, with what proves it there.", "bundle", run))
    return steps


def _step(why: str, *words: str) -> NextStep:
    return NextStep(shlex.join(["secateur", *words]), why)
