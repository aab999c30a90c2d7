"""`secateur recipes`."""

from __future__ import annotations

import json

from secateur.pipeline.runs.shipped import shipped_recipes
from tests.pipeline.cli.conftest import Command


def test_all_are_listed_in_a_line_each(secateur: Command) -> None:
    lines = secateur("recipes").stdout.splitlines()
    assert [line.split()[0] for line in lines] == [one.name for one in shipped_recipes()]
    assert all(one.summary in line for one, line in zip(shipped_recipes(), lines, strict=True))
    assert [one["name"] for one in json.loads(secateur("recipes", "--json").stdout)] == [
        one.name for one in shipped_recipes()
    ]


def test_one_is_printed_as_it_is(secateur: Command) -> None:
    one = shipped_recipes()[0]
    assert secateur("recipes", one.name).stdout == one.text
    assert json.loads(secateur("recipes", one.name, "--json").stdout)["text"] == one.text
