"""The report stage, and with it all stages of a run."""

from __future__ import annotations

from collections.abc import Callable

from secateur.pipeline.report.fidelity_of_run import fidelity_of_run
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.stages import STAGES, Stage, held_out_images


def _report(run: Run, say: Callable[[str], None]) -> list[str]:
    from secateur.pipeline.report.write import write_report  # matplotlib is slow to import

    return write_report(run.folder, fidelity_of_run(run, say), run.data.classes)


REPORT = Stage("report", ("score", "plan", "recover", "bench"), _report, ("report", "seed"), held_out_images)
ALL_STAGES = (*STAGES, REPORT)
NAMES = tuple(stage.name for stage in ALL_STAGES)
