"""The keys of a recipe, described from its dataclasses."""

from __future__ import annotations

from dataclasses import fields

import pytest
import yaml

from secateur.core.errors import RecipeError
from secateur.pipeline.plan.spec import default_spec
from secateur.pipeline.runs.keys import OPTIONS, REQUIRED, describe_keys, find_keys
from secateur.pipeline.runs.recipe import make_recipe
from secateur.pipeline.scores.registry import METHODS

RECIPE = {"model": {"name": "test_vit"}, "data": {"path": "digits"}, "budget": {"macs": 0.5}}


def leaves(content: object, place: str = "") -> list[tuple[str, object]]:
    """The keys of a recipe as it is written out, with their values; a dictionary that may hold anything is a value."""
    if not isinstance(content, dict) or place in ("model.kwargs", OPTIONS):
        return [(place, content)]
    return [leaf for key, value in content.items() for leaf in leaves(value, f"{place}.{key}".lstrip("."))]


def test_every_key_of_a_recipe_is_described_with_its_default() -> None:
    written = dict(leaves(yaml.safe_load(make_recipe(RECIPE, "test").to_yaml())))
    keys = {key.name: key for key in describe_keys() if not key.method}
    assert list(keys) == list(written)
    given = ("model.name", "data.path", "budget.macs")
    assert {name: yaml.safe_load(key.default) for name, key in keys.items() if name not in given} == {
        name: value for name, value in written.items() if name not in given
    }
    assert [key.name for key in keys.values() if key.default == REQUIRED] == ["model.name"]


def test_every_key_says_what_it_does_in_a_sentence_of_its_own() -> None:
    for key in describe_keys():
        assert key.summary.endswith(".") and key.takes, key
        # what one section says twice, it says of the wrong key once
        alike = [one.name for one in describe_keys() if (one.summary, one.method) == (key.summary, key.method)]
        sections = [name.rpartition(".")[0] for name in alike]
        assert len(set(sections)) == len(sections), alike


def test_every_option_of_every_score_method_is_described() -> None:
    found = {(key.method, key.name) for key in describe_keys() if key.method}
    assert found == {
        (method, f"{OPTIONS}.{item.name}") for method in METHODS.own() for item in fields(METHODS.find(method))
    }


def test_what_a_key_takes_has_its_range_and_its_words() -> None:
    takes = {key.name: key.takes for key in describe_keys()}
    assert takes["plan.align"] == "a whole number, 1 or more"
    assert takes["plan.least"] == "a whole number, 0 or more or null"
    assert takes["recover.distill.mix"] == "a number, from 0 to 1"
    assert takes["export.preprocessing"] == "one of outside, inside"
    assert takes["plan.kinds"].startswith("a list of one of head, qk_dim")
    assert takes["bench.batch"] == "a list of whole numbers"


def test_a_key_is_found_by_its_name_and_keys_by_their_section() -> None:
    assert [key.name for key in find_keys("plan.align")] == ["plan.align"]
    sections = {key.name.split(".")[1] for key in find_keys("plan")}
    assert sections == {item.name for item in fields(default_spec())}


@pytest.mark.parametrize(
    ("word", "hint"),
    [("ridge", "'recover.ridge'"), ("plan.alig", "'plan.align'"), ("plan.al", "'plan.al"), ("nonsense", "lists them")],
)
def test_what_is_no_key_is_refused_with_those_that_are_near(word: str, hint: str) -> None:
    with pytest.raises(RecipeError, match=hint):
        find_keys(word)
