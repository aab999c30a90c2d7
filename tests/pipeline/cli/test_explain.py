"""`secateur explain`: keys of recipes in words."""

from __future__ import annotations

import json

import pytest

from secateur.core.errors import RecipeError
from secateur.pipeline.runs.keys import describe_keys
from tests.pipeline.cli.conftest import Command


def test_one_key_is_said_in_full(secateur: Command) -> None:
    key = next(key for key in describe_keys() if key.name == "plan.align")
    said = secateur("explain", "plan.align").stdout.splitlines()
    assert said == [f"plan.align: {key.summary}", "takes: a whole number, 1 or more", "default: 8"]


def test_without_a_key_all_are_listed_with_their_defaults(secateur: Command) -> None:
    said = "".join(secateur("explain").stdout.split())
    for key in describe_keys():
        assert key.name in said
    assert "[default:[mlp_hidden,qk_dim,v_dim,channel]]" in said


def test_a_section_lists_its_keys(secateur: Command) -> None:
    found = json.loads(secateur("explain", "score.options", "--json").stdout)
    assert {"score.options.composite", "score.options.rounds"} < {key["name"] for key in found}
    assert next(key for key in found if key["name"] == "score.options.rounds")["method"] == "obs"


def test_an_unknown_key_is_refused(secateur: Command) -> None:
    with pytest.raises(RecipeError, match=r"'recover\.ridge'"):
        secateur("explain", "ridge")
