"""Options: what annotations allow, plain values in and out, and every mistake as one sentence."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.core.errors import PlanError, RecipeError
from secateur.core.options import check_fields, options_of, plain_options
from secateur.core.ranges import Range


@dataclass(frozen=True)
class _Inner:
    words: tuple[str, ...] = ()

    def plain(self) -> list[str]:
        return list(self.words)


@dataclass(frozen=True)
class _Options:
    kind: Literal["first", "second"] = "first"
    count: Annotated[int, Range(1)] = 4
    rate: Annotated[float, Range(0)] | None = None
    sizes: tuple[Annotated[int, Range(1)], ...] = (1,)
    kinds: tuple[Literal["head", "channel"], ...] = ()
    name: str = ""
    what: str | Path | _Inner = "x"
    inner: _Inner = field(default_factory=_Inner)

    def __post_init__(self) -> None:
        check_fields(self, "thing")


GOOD: list[dict[str, Any]] = [
    {},
    {"kind": "second", "count": 1, "rate": 0.0, "sizes": (3, 1), "kinds": ("head",), "name": "n"},
    {"rate": 2, "what": Path("p"), "inner": _Inner(("a",))},
]
BAD: list[tuple[dict[str, Any], str]] = [
    ({"kind": "frist"}, r"thing.kind is 'frist', but must be one of first, second; did you mean 'first'"),
    ({"count": 0}, "thing.count is 0, but must be 1 or more"),
    ({"count": 1.5}, "thing.count is 1.5, but must be a whole number"),
    ({"count": True}, "thing.count is True"),
    ({"rate": -0.5}, "thing.rate is -0.5, but must be 0 or more"),
    ({"rate": float("nan")}, "thing.rate is nan, but must be 0 or more"),
    ({"sizes": (2, 0)}, r"thing.sizes is \[2, 0\], but must be 1 or more"),
    ({"kinds": ("heads",)}, "did you mean 'head'"),
    ({"kinds": "head"}, r"thing.kinds is 'head', but must be a list"),
    ({"name": 3}, "thing.name is 3, but must be a word"),
]


@pytest.mark.parametrize("values", GOOD)
def test_what_the_annotations_allow_is_taken(values: dict[str, Any]) -> None:
    assert _Options(**values) == options_of(_Options, values, "thing")


@pytest.mark.parametrize(("values", "words"), BAD)
def test_what_they_do_not_allow_is_refused_by_name(values: dict[str, Any], words: str) -> None:
    with pytest.raises(PlanError, match=words):
        _Options(**values)
    with pytest.raises(PlanError, match="thing." + next(iter(values))):
        options_of(_Options, values, "thing")


def test_only_the_fields_that_are_named_are_checked() -> None:
    given = _Options()
    object.__setattr__(given, "count", 0)
    check_fields(given, "thing", names=("kind", "rate"))
    with pytest.raises(PlanError, match=r"thing\.count is 0"):
        check_fields(given, "thing", names=("count",))


def test_plain_values_become_what_the_fields_are() -> None:
    made = options_of(_Options, {"sizes": [2, 3], "rate": "1e-6", "kinds": ["head"]}, "thing")
    assert made == _Options(sizes=(2, 3), rate=1e-6, kinds=("head",))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"cuont": 2}, "thing has no option 'cuont'; did you mean 'count'"),
        ({3: 2}, "thing has no option 3; its options: kind, count"),
        ({"count": "many"}, "thing.count is 'many', but must be "),
        ({"kind": "frist"}, "did you mean 'first'"),
        ({"kinds": ["heads"]}, "did you mean 'head'"),
        ({"count": None}, "thing.count is None"),
    ],
)
def test_mistakes_in_plain_values_are_sentences(values: dict[Any, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        options_of(_Options, values, "thing", RecipeError)


def test_an_option_without_a_default_is_asked_for() -> None:
    @dataclass(frozen=True)
    class Needs:
        depth: int

    with pytest.raises(PlanError, match="needs needs the option 'depth'"):
        options_of(Needs, {}, "needs")


@given(
    st.builds(
        _Options,
        kind=st.sampled_from(["first", "second"]),
        count=st.integers(1, 9),
        rate=st.none() | st.floats(0, 5),
        sizes=st.lists(st.integers(1, 3)).map(tuple),
        kinds=st.lists(st.sampled_from(["head", "channel"])).map(tuple),
    )
)
def test_plain_options_make_the_same_again_and_leave_defaults_out(options: _Options) -> None:
    plain = plain_options(options)
    assert options_of(_Options, plain, "thing") == options
    assert all(plain[name] is not None for name in plain)
    assert plain_options(_Options()) == {}


def test_paths_and_what_says_itself_are_plain() -> None:
    found = plain_options(_Options(what=Path("a") / "b", inner=_Inner(("x", "y"))))
    assert found == {"what": "a/b", "inner": ["x", "y"]}
