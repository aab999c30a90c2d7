"""What of a recipe can be checked only with its model and its images, before anything is written."""

from __future__ import annotations

from secateur.core.errors import DataError, naming
from secateur.pipeline.plan.allocate import find_allocation
from secateur.pipeline.runs.context import Run


def check_run(run: Run) -> None:
    """Raises the error of a run that cannot work: its weights, images, classes, plan or budget do not fit together."""
    recipe = run.recipe
    find_allocation(recipe.plan.allocate)
    with naming("data"):
        if not len(run.data.evaluation):
            raise DataError("the held-out split is empty: give data.evaluation, or more images per class")
    with naming("model"):
        groups = run.groups
    if recipe.budget.target is None:
        recipe.budget.limit(groups, [group.name for group in groups])
