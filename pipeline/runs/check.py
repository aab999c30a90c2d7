"""What of a recipe can be checked only with its model and its images, before anything is written."""

from __future__ import annotations

from secateur.core.errors import DataError, naming
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
    check_plan(groups, recipe.budget, recipe.plan.allocation())
