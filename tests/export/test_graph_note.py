"""Notes of graphs that somebody else has made."""

from __future__ import annotations

import pytest

from secateur.core.errors import ExportError
from secateur.export.graph_note import read_note


def test_a_note_is_of_its_type_and_may_be_absent() -> None:
    assert read_note({"count": "3"}, "count", int, "x.onnx") == 3
    assert read_note({}, "kept", dict[str, str], "x.onnx", "{}") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 5_000, "the note count of x.onnx is no JSON .* more than 100 deep"),
        ("9" * 5_000, "is no JSON .* larger than any number"),
        ("NaN", "is no JSON .*NaN is no number"),
        ('"many"', "the note count of x.onnx: the whole: Input should be a valid integer"),
        ("", "is no JSON"),
    ],
)
def test_a_note_of_others_is_refused(text: str, message: str) -> None:
    with pytest.raises(ExportError, match=f"{message}.*export the graph again"):
        read_note({"count": text}, "count", int, "x.onnx")
