"""The notes in a graph's metadata, which are JSON and may be somebody else's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from secateur.core.errors import ExportError
from secateur.core.json_text import parse_json
from secateur.core.records import checked

T = TypeVar("T")


def read_note(notes: Mapping[str, str], name: str, kind: type[T], where: str, absent: str = "") -> T:
    """What the note `name` of the graph `where` says, as its type; `absent` is what one says that is not there.

    Raises `ExportError` for a note that is none of ours.
    """
    where, remedy = f"the note {name} of {where}", "export the graph again"
    try:
        content = parse_json(notes.get(name, absent))
    except ValueError as error:
        raise ExportError(f"{where} is no JSON ({error}): {remedy}") from error
    return checked(kind, content, where, ExportError, remedy)
