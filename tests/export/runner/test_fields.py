"""JSON objects that are read key by key: types, bounds, unknown keys, names that stand twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from secateur.export.runner.errors import BundleError
from secateur.export.runner.fields import Fields, number_of, read_object, text_of

Read = Callable[[Fields], Any]


def test_every_kind_of_value() -> None:
    fields = Fields(
        {"t": "word", "n": 1.5, "c": 3, "l": ["a"], "o": {"k": 2}, "i": {"x": "y"}, "m": None, "b": True}, "f"
    )
    assert (fields.text("t", "[a-z]+"), fields.number("n", 1, 2), fields.count("c", 3)) == ("word", 1.5, 3)
    assert (fields.items("l", text_of), fields.named("o", number_of)) == (("a",), {"k": 2.0})
    assert fields.inner("i").text("x") == "y"
    assert fields.flag("b") is True
    assert fields.maybe("m", fields.count) is None
    fields.end()


@pytest.mark.parametrize(
    ("value", "read", "words"),
    [
        (1, lambda f: f.text("k"), "f: k is 1, but text is needed"),
        ("A", lambda f: f.text("k", "[a-z]"), "such as"),
        ("a\n", lambda f: f.text("k", "[a-z]"), "such as"),
        ("x" * 30000, lambda f: f.text("k"), "but text is needed"),
        (True, lambda f: f.number("k"), "a number"),
        (1, lambda f: f.flag("k"), "true or false"),
        (3, lambda f: f.number("k", 0, 2), "a number from 0 to 2"),
        (10**400, lambda f: f.number("k"), "a finite number"),
        (1.0, lambda f: f.count("k"), "a whole number"),
        (-1, lambda f: f.count("k"), "a whole number from 0"),
        ({}, lambda f: f.items("k", text_of), "is an object, but a list"),
        ([1, 2], lambda f: f.items("k", number_of, 1), "at most 1"),
        (["a", 2], lambda f: f.items("k", text_of), r"f: k\[1\]"),
        ([], lambda f: f.named("k", text_of), "is a list, but an object"),
        ({"a": 1, "b": 2}, lambda f: f.named("k", number_of, 1), "at most 1 keys"),
        (None, lambda f: f.inner("k"), "f: k is null, but an object is needed"),
        (1, lambda f: f.text("other"), "f has no 'other'"),
        (1, lambda f: f.end(), "f has an unknown key 'k'"),
    ],
)
def test_what_does_not_fit_is_a_sentence(value: object, read: Read, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        read(Fields({"k": value}, "f"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b"[" * 100000, "not valid JSON"),
        (b'{"schema": "s", "a": 1, "a": 2}', "stands twice"),
        (b'{"schema": "s", "a": NaN}', "NaN is no number"),
        (b'{"schema": "s", "a": ' + b"1" * 10000 + b"}", "not valid JSON"),
        (b"3", "is a number, but an object"),
        (b"{}", "has no 'schema'"),
        (b'{"schema": "t"}', "has the schema 't', but 's' is needed"),
    ],
)
def test_what_is_no_document_of_the_schema(data: bytes, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        read_object(data, "f", "s")
    assert read_object(json.dumps({"schema": "s", "a": 1}).encode(), "f", "s").count("a") == 1


def test_a_document_of_any_length_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secateur.export.runner.fields.MOST_BYTES", 10)
    with pytest.raises(BundleError, match="at most 10 are read"):
        read_object(b'{"schema": "s"}', "f", "s")
