"""What every process but the first one does in a run."""

from __future__ import annotations

from collections.abc import Callable

from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.distill_stage import DISTILL, help_distilling
from secateur.pipeline.runs.distributed import DONE, listen
from secateur.pipeline.runs.score_stage import SCORE, score_run

WORK: dict[str, Callable[[Run], object]] = {DISTILL: help_distilling, SCORE: score_run}


def take_part(run: Run) -> None:
    """Waits for the first process, and helps with what it announces until it is done."""
    while (word := listen()) != DONE:
        WORK[word](run)
