"""The demo's model: trained, and of the class that its recipe names."""

from __future__ import annotations

from importlib.resources import files

import yaml

import secateur as sc
from secateur.pipeline.demo.model import KWARGS, NAME, digits_vit


def test_it_knows_the_digits_that_it_was_not_trained_on() -> None:
    model = digits_vit()
    held_out = sc.Loader(sc.open_data("digits").evaluation, sc.transform_for(model), indices=range(100))
    assert sc.accuracy(model, held_out) > 95


def test_it_is_the_model_of_the_recipe() -> None:
    recipe = yaml.safe_load((files("secateur.pipeline.demo") / "demo.yaml").read_text())
    assert (recipe["model"]["name"], recipe["model"]["kwargs"]) == (NAME, KWARGS)
