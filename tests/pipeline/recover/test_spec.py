"""What a recipe says under `recover`: the keys of the options, defaults, and mistakes."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from secateur.core.errors import RecipeError
from secateur.pipeline.recover.spec import Compensation, DistillSpec, ReconstructSpec, RecoverSpec
from secateur.pipeline.runs.recipe import make_recipe, plain

MINIMAL = {"model": {"name": "deit_tiny_patch16_224"}, "data": {"path": "digits"}, "budget": {"macs": 0.5}}


def test_the_keys_are_those_of_the_options() -> None:
    names = {field.name for field in fields(RecoverSpec)}
    assert names == {
        *("compensate", "ridge", "front_to_back", "adapt_statistics"),
        *("reconstruct", "distill", "samples_per_class", "batch_size"),
    }
    assert {field.name for field in fields(Compensation)} < names
    content = plain(make_recipe(MINIMAL, "recipe.yaml"))["recover"]
    assert content == {**plain(Compensation()), "compensate": True, "samples_per_class": 0, "batch_size": 32} | {
        "reconstruct": plain(ReconstructSpec()),
        "distill": plain(DistillSpec()),
    }
    given = make_recipe({**MINIMAL, "recover": {"ridge": "1e-3", "distill": {"epochs": 2}}}, "recipe.yaml").recover
    assert given == RecoverSpec(ridge=1e-3, distill=DistillSpec(epochs=2))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"ridge": -1}, "recover.ridge is -1.*0 or more"),
        ({"batch_size": 0}, "recover.batch_size is 0, but must be 1 or more"),
        ({"samples_per_class": -2}, "recover.samples_per_class is -2"),
        ({"distill": {"mix": 1.5}}, "recover.distill.mix is 1.5, but must be from 0 to 1"),
        ({"distill": {"precision": "fp8"}}, "fp8"),
        ({"distill": {"clip": 0}}, "recover.distill.clip is 0"),
        ({"distil": {}}, "did you mean 'distill'"),
    ],
)
def test_mistakes_are_named(content: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        make_recipe({**MINIMAL, "recover": content}, "recipe.yaml")
