"""YAML from strangers ends in a value or in one sentence, soon and without much memory."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from secateur.core.yaml_text import DEEPEST, MOST_CHARACTERS, parse_yaml

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(12))
BAD = {
    "bomb": BOMB,
    "229 bytes": "".join(f"- &a{i} [{','.join([f'*a{i - 1}' if i else 'x'] * 7)}]\n" for i in range(7)),
    "itself": "a: &a [*a]",
    "itself in a section": "&a {b: *a}",
    "date": "a: 2024-13-45",
    "time": "a: 2024-01-01 99:99:99",
    "list depth": "[" * 5000,
    "section depth": "{a: " * 3000,
    "one too deep": "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1),
    "digits": "a: " + "9" * 5000,
    "no number": 'a: !!int ""',
    "no fraction": "a: !!float x",
    "no truth": "a: !!bool x",
    "no time": "a: !!timestamp x",
    "python": "a: !!python/object/apply:os.system [id]",
    "binary": "a: !!binary x",
    "merge": "<<: 3",
    "key": "? [a]\n: b",
    "two": "a: 1\n---\nb: 2",
    "key twice": "a: 1\nb: 2\na: 3",
    "key twice inside": "- {b: {a: 1, a: 1}}",
    "zero byte": "a: \0",
    "length": "#" * (MOST_CHARACTERS + 1),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_yaml_or_too_much_is_one_sentence(kind: str) -> None:
    with pytest.raises(ValueError, match=r"\S") as caught:
        parse_yaml(BAD[kind])
    assert "\n" not in str(caught.value)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("ab:-*&!é", max_size=5) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN)
def test_what_is_plain_is_read_as_by_the_library(value: object) -> None:
    assert parse_yaml(yaml.safe_dump(value)) == value


def test_aliases_within_bounds_are_taken() -> None:
    assert parse_yaml("a: &a {b: 1}\nc: *a\nd: {<<: *a, e: 2}") == {"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1, "e": 2}}
    assert parse_yaml("") is None
