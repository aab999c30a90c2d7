"""Records: what is written is read again, and content of another kind is refused by the first field that is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from secateur.core.errors import BenchError, RunError
from secateur.core.records import parse_record, read_record, write_record


@dataclass(frozen=True)
class Part:
    name: str
    sizes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Whole:
    parts: tuple[Part, ...]
    shares: Mapping[str, float] = field(default_factory=dict)
    note: str | None = None


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    whole = Whole((Part("a", (1, 2)), Part("b")), {"a": 0.5})
    write_record(tmp_path / "whole.json", "whole", whole)
    content = json.loads((tmp_path / "whole.json").read_text())
    assert content == {
        "schema": "secateur.whole/1",
        "parts": [{"name": "a", "sizes": [1, 2]}, {"name": "b", "sizes": []}],
        "shares": {"a": 0.5},
        "note": None,
    }
    assert read_record(tmp_path / "whole.json", "whole", Whole) == whole


def test_another_schema_is_refused(tmp_path: Path) -> None:
    write_record(tmp_path / "whole.json", "whole", Whole(()))
    with pytest.raises(RunError, match=r"has the schema 'secateur.whole/1', but 'secateur.half/1' is needed"):
        read_record(tmp_path / "whole.json", "half", Whole)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, r"x\.json: parts: Field required: make it again"),
        (
            {"parts": [{"name": "a", "sizes": ["wide"]}]},
            r"x\.json: parts\.0\.sizes\.0: Input should be a valid integer",
        ),
        ({"parts": [], "sizes": []}, r"x\.json has an unknown key 'sizes': make it again"),
        ({"parts": [{"name": "a", "size": 1}]}, r"x\.json has an unknown key 'parts\.0\.size': make it again"),
        ({"parts": [], "shares": {"a": None}}, r"x\.json: shares\.a: Input should be a valid number"),
    ],
)
def test_content_that_does_not_fit_is_named(content: dict[str, object], words: str) -> None:
    with pytest.raises(BenchError, match=words):
        parse_record(Whole, content, "x.json", BenchError, "make it again")
