"""The recipes that come with secateur."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import secateur as sc
from secateur.core.errors import RecipeError
from secateur.pipeline.models.architecture import check_name
from secateur.pipeline.report.dry_run import dry_run
from secateur.pipeline.runs.recipe import Recipe, changed, read_recipe
from secateur.pipeline.runs.shipped import shipped_path, shipped_recipe, shipped_recipes
from tests.pipeline.runs.small_run import make_images

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


SMALL = {"cnn-int8": "test_efficientnet", "deit-tiny": "test_vit", "latency": "test_vit"}
"""A model of seconds in the place of each recipe's own."""


def in_small(name: str, folder: Path) -> Recipe:
    """The recipe with a small model without weights, and pictures of noise in the folders that it names."""
    recipe = read_recipe(shipped_path(name))
    data = {"path": recipe.data.path, "calibration": recipe.data.calibration, "evaluation": recipe.data.evaluation}
    places = {key: folder / str(place) for key, place in data.items() if place}
    for seed, place in enumerate(places.values()):
        make_images(place, 12, seed)
    return changed(
        recipe,
        [
            *(f"data.{key}={place}" for key, place in places.items()),
            *(f"model.{setting}" for setting in (f"name={SMALL[name]}", "pretrained=false", "kwargs={num_classes: 3}")),
            *("bench.seconds=0.05", "bench.processes=1", "report.images=2"),
        ],
    )


@pytest.mark.parametrize("name", list(SMALL))
def test_every_recipe_is_one_that_a_run_would_begin(name: str, tmp_path: Path) -> None:
    assert set(SMALL) == {path.stem for path in FOLDER.glob("*.yaml")}
    found = dry_run(in_small(name, tmp_path), tmp_path / "run")
    assert [stage.name for stage in found.stages if stage.reason][-1] == "report"
    assert not (tmp_path / "run").exists()


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["cnn-int8", "deit-tiny"])  # a table of latencies wants a quiet machine
def test_every_recipe_is_taken_to_its_report(name: str, tmp_path: Path) -> None:
    run = sc.run(changed(in_small(name, tmp_path), ["export.targets=[onnxruntime:cpu]"]), tmp_path / "run")
    assert (run.folder / "report.html").is_file()


def test_another_name_is_refused_with_those_that_are_near() -> None:
    assert shipped_path("deit-tine") is None
    with pytest.raises(RecipeError, match="did you mean 'deit-tiny'"):
        shipped_recipe("deit-tine")
