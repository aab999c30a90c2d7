"""Composites: names, files and mappings in, rules by depth and type out; everything unknown is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur.core.errors import PlanError
from secateur.pipeline.scores.lrp.composite import DEPTHS, NAMED, TYPES, find_composite


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_a_composite_comes_back_from_its_file(name: str, suffix: str, tmp_path: Path) -> None:
    composite = find_composite(name)
    composite.save(tmp_path / f"best{suffix}", {"a_pr": 50.0})
    assert find_composite(tmp_path / f"best{suffix}") == composite
    assert find_composite(composite.plain()) == composite


def test_gamma_without_a_number_is_that_of_the_paper() -> None:
    composite = find_composite(
        {"first": "gamma", "last": {"convolution": {"rule": "gamma", "gamma": 1}, "linear": "z_plus"}}
    )
    assert composite.rule("first", "convolution").parameters == {"gamma": 0.25}
    assert composite.rule("first", "linear").parameters == {"gamma": 0.05}
    assert composite.rule("last", "convolution").parameters == {"gamma": 1.0}
    assert composite.rule("last", "linear").name == "z_plus"
    assert {composite.rule("middle", kind).name for kind in TYPES} == {"epsilon"}
    assert len(composite.rules) == len(DEPTHS) * len(TYPES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"frist": "gamma"}, "did you mean 'first'"),
        ({"first": "gama"}, "did you mean 'gamma'"),
        ({"first": {"conv": "gamma"}}, "convolution and linear"),
        ({"first": {"rule": "gamma", "alpha": 2}}, "gamma has no option 'alpha'"),
        ({"first": {"rule": "gamma", "gamma": -1}}, "gamma is -1.*0 or more"),
        ({"first": {"rule": "gamma", "gamma": "much"}}, "gamma is 'much'.*0 or more"),
        ({"first": 3}, "a rule's name or a mapping"),
        ({"aggregate": "sined"}, "did you mean 'signed'"),
        ({"attention": "soft"}, "attnlrp_z_plus"),
        ("epsilom", "did you mean 'epsilon'"),
    ],
)
def test_unknown_words_are_refused(content: object, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        find_composite(content)  # type: ignore[arg-type]  # wrong on purpose


def test_a_file_of_another_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("schema: secateur.plan/1\n")
    with pytest.raises(PlanError, match="no composite of the schema"):
        find_composite(tmp_path / "x.yaml")
