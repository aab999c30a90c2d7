"""What of a recipe can be checked only with its model and its images, before anything is written."""

from __future__ import annotations

from secateur.benchmarks.bench import why_not
from secateur.core.errors import BenchError, DataError, naming
from secateur.pipeline.plan.make import check_plan
from secateur.pipeline.runs.context import Run


def check_run(run: Run) -> None:
    """Raises the error of a run that cannot work: its weights, images, classes, plan or budget do not fit together."""
    recipe = run.recipe
    with naming("data"):
        if not len(run.data.evaluation):
            raise DataError("the held-out split is empty: give data.evaluation, or more images per class")
    with naming("model"):
        groups = run.groups
    with naming("plan"):
        check_plan(groups, recipe.budget, recipe.plan.allocation())
    count, distill = len(run.data.calibration), recipe.recover.distill
    if distill.epochs and count < distill.batch_size:
        raise DataError(
            f"recover.distill.batch_size is {distill.batch_size}, but there are {count} images to distil on"
        )
    target = recipe.budget.target
    if target is not None and not (run.folder / "latency.json").is_file() and (reason := why_not(target)):
        raise BenchError(
            f"budget.target is {target!r}, but latency cannot be measured here ({reason}): where it can, make "
            f"latency.json with `secateur profile RUN_DIR --target {target}`, and put it into {run.folder}"
        )
