"""What of a recipe can be checked only with its model and its images, before anything is written."""

from __future__ import annotations

import torch

from secateur.benchmarks.bench import why_not
from secateur.core.errors import BenchError, DataError, RunError, naming
from secateur.core.import_path import imported
from secateur.core.modules import frozen
from secateur.pipeline.models.inputs import input_shape
from secateur.pipeline.plan.make import check_plan
from secateur.pipeline.recover.augmentation import check_unmoved
from secateur.pipeline.recover.reconstruct import check_enough
from secateur.pipeline.runs.context import Run
from secateur.pipeline.structure.layers import groups_for
from secateur.pipeline.structure.surgery import example_for


def check_classifies(run: Run, what: str) -> None:
    """Raises `RunError` where a run is not of a classifier, for `what` counts images that are classified right."""
    if not run.task.classifies:
        raise RunError(
            f"{what} count images that are classified right, but the task of {run.folder} is {run.recipe.task.name}: "
            "compare budgets of it with `secateur sweep`, or methods by a run of each"
        )


def check_run(run: Run) -> None:
    """Raises the error of a run that cannot work: its weights, images, classes, plan or budget do not fit together."""
    recipe = run.recipe
    with naming("data"):
        if not len(run.data.evaluation):
            raise DataError("the held-out split is empty: give data.evaluation, or more images per class")
    with naming("model"):
        groups = run.groups
    with naming("task"), frozen(run.dense), torch.no_grad():
        run.task.check(run.dense(example_for(run.dense, input_shape(run.dense))), run.data.calibration.classes)
    if recipe.score.loss is not None:
        with naming("score.loss"):
            imported(recipe.score.loss)
    with naming("plan"):
        check_plan(groups_for(recipe.plan.kinds, groups), recipe.budget, recipe.plan.allocation())
    count, distill = len(run.data.calibration), recipe.recover.distill
    if distill.epochs and count < distill.batch_size:
        raise DataError(
            f"recover.distill.batch_size is {distill.batch_size}, but there are {count} images to distil on"
        )
    if recipe.recover.reconstruct.epochs:
        check_enough(count, recipe.recover.reconstruct)
    truths = run.data.calibration.truths
    if distill.epochs and distill.labels and truths is not None and truths.in_place:
        check_unmoved(distill)
    target = recipe.budget.target
    if target is not None and not (run.folder / "latency.json").is_file() and (reason := why_not(target)):
        raise BenchError(
            f"budget.target is {target!r}, but latency cannot be measured here ({reason}): where it can, make "
            f"latency.json with `secateur profile RUN_DIR --target {target}`, and put it into {run.folder}"
        )
