"""The recipes that come with secateur."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from secateur.core.errors import RecipeError
from secateur.pipeline.models.architecture import check_name
from secateur.pipeline.runs.recipe import read_recipe
from secateur.pipeline.runs.shipped import shipped_path, shipped_recipe, shipped_recipes

FOLDER = Path(__file__).parents[3] / "recipes"


def test_every_recipe_of_the_folder_ships_and_says_what_it_is_for() -> None:
    found = {one.name: one for one in shipped_recipes()}
    assert set(found) == {path.stem for path in FOLDER.glob("*.yaml")} > {"deit-tiny"}
    for one in found.values():
        assert one.summary.endswith(".") and one.summary.count(".") == 1 and not one.summary.startswith("#")
        assert shipped_recipe(one.name) == one


@pytest.mark.parametrize("name", [path.stem for path in FOLDER.glob("*.yaml")])
def test_every_recipe_can_be_read_and_names_a_model_with_weights_to_be_had(name: str) -> None:
    path = shipped_path(name)
    assert path is not None and path.read_text() == shipped_recipe(name).text
    recipe = read_recipe(path)
    check_name(recipe.model.name)
    assert recipe.model.pretrained
    assert not {"..", "/"} & {*Path(str(recipe.data.path)).parts, *Path(str(recipe.data.calibration)).parts}
    assert set(yaml.safe_load(path.read_text())) >= {"model", "data", "budget"}


def test_another_name_is_refused_with_those_that_are_near() -> None:
    assert shipped_path("deit-tine") is None
    with pytest.raises(RecipeError, match="did you mean 'deit-tiny'"):
        shipped_recipe("deit-tine")
