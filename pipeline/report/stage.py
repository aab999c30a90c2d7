"""The report stage, and with it all stages of a run."""

from __future__ import annotations

from collections.abc import Callable

from secateur.pipeline.report.fidelity_of_run import fidelity_of_run
from secateur.pipeline.runs.declarations import Output, Packages, recipe_parts
from secateur.pipeline.runs.inputs import Inputs
from secateur.pipeline.runs.recipe import plain
from secateur.pipeline.runs.stage import Stage
from secateur.pipeline.runs.stages import DENSE, HELD_OUT, PLAN, SCORES, SMALL, STAGES, TRACED

BENCH, GROUPS = Output("bench", "bench.json"), Output("groups", "groups.json")


def _report(inputs: Inputs, say: Callable[[str], None]) -> list[str]:
    from secateur.pipeline.report.write import write_report  # matplotlib is slow to import

    folder = inputs.folder_of(GROUPS, SCORES, PLAN, BENCH)
    return write_report(folder, fidelity_of_run(inputs, say), inputs.held_out_images.classes, plain(inputs.recipe))


REPORT = Stage(
    "report",
    (
        *(DENSE, HELD_OUT, GROUPS, SCORES, PLAN, SMALL, BENCH, TRACED, Packages("matplotlib")),
        *recipe_parts("", "report"),
    ),
    _report,
)
ALL_STAGES = (*STAGES, REPORT)
