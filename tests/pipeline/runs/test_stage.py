"""A stage: all that it declares for a recipe decides its identity."""

from __future__ import annotations

from pathlib import Path

from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.declarations import Output, RecipePart, recipe_parts
from secateur.pipeline.runs.manifest import Entry
from secateur.pipeline.runs.recipe import Recipe
from secateur.pipeline.runs.stage import Stage
from tests.pipeline.runs.processes import RECIPE
from tests.pipeline.runs.test_recipe import make_recipe


def also(recipe: Recipe) -> list[RecipePart]:
    return [RecipePart("recover.compensate")] if recipe.plan.allocate == "sensitivity" else []


def test_what_it_reads_besides_depends_on_the_recipe(tmp_path: Path) -> None:
    stage = Stage("some", (*recipe_parts("seed"), Output("plan")), lambda inputs, say: [], also)
    finished = {"plan": Entry("", {"plan.json": "x"}, 0.0, {}, 0)}
    for allocate, more in (("global", []), ("sensitivity", ["recipe.recover.compensate"])):
        run = Run(tmp_path, make_recipe({**RECIPE, "plan": {"allocate": allocate}}, "here"))
        assert list(stage.identity(run, finished)) == ["recipe.seed", "plan.json", *more]
        inputs = stage.inputs(run, finished)
        assert inputs.has("plan.json")
        assert len(inputs.reads) == 2 + len(more)
