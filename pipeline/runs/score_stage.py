"""The score stage: methods that train are trained by all processes that a launcher started."""

from __future__ import annotations

from collections.abc import Callable

from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.distributed import announce
from secateur.pipeline.scores.registry import TrainedMethod
from secateur.pipeline.scores.score import Scores, score

SCORE = "score"
FILE = "scores.safetensors"


def score_run(run: Run, say: Callable[[str], None] = lambda message: None) -> Scores:
    """The scores of a run's model by its recipe's method; a training that was stopped goes on."""
    spec = run.recipe.score
    loader = run.calibration(spec.samples_per_class, spec.batch_size)
    say(f"{spec.method} on {loader.samples} images")
    return score(run.dense, run.groups, loader, spec.made(), run.recipe.seed, say, run.folder)


def score_together(run: Run, say: Callable[[str], None]) -> list[str]:
    """What the first process does: it scores, and the others help where the method trains."""
    if isinstance(run.recipe.score.made(), TrainedMethod):
        announce(SCORE)
    score_run(run, say).save(run.folder / FILE)
    return [FILE]
