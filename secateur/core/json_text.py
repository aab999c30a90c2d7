"""JSON from strangers: bounded in length, nesting and digits, and plain, before anything is made of it."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

MOST_BYTES = 64 << 20
"""Of a file; those of a run have some hundred thousand."""
DEEPEST = 100
"""Lists and objects in each other."""
MOST_DIGITS = 100
"""Of a whole number: larger ones are no counts, and overflow where they meet a fraction."""
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"?|[][{}]', re.DOTALL)


def read_json_text(path: Path, most_bytes: int = MOST_BYTES) -> Any:
    """The value in a JSON file, parsed as `parse_json` does.

    Raises `OSError` where it cannot be read, and `ValueError` for a device, a pipe, or a file of more bytes.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise ValueError("it is a folder, a device or a pipe, but a file is needed")
    if (size := path.stat().st_size) > most_bytes:
        raise ValueError(f"it has {size:,} bytes, but at most {most_bytes:,} are read")
    return parse_json(path.read_text(encoding="utf-8"))


def parse_json(text: str | bytes) -> Any:
    """The value in a JSON text; raises `ValueError` with one sentence for a text that is none, or exceeds a bound.

    Refused are names that stand twice in an object, numbers that JSON does not have (NaN, Infinity) or that overflow.
    """
    plain = text if isinstance(text, str) else text.decode("utf-8")
    _check_depth(plain)
    return json.loads(
        plain, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite, parse_int=_whole
    )


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= DEEPEST:
        return
    depth = 0
    for token in _TOKENS.finditer(text):
        mark = token[0]
        depth += (mark in "[{") - (mark in "]}")
        if depth > DEEPEST:
            raise ValueError(f"lists or objects lie in each other more than {DEEPEST} deep")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice[:80]!r} stands twice in an object")
    return found


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON")


def _finite(word: str) -> float:
    if math.isinf(number := float(word)):
        raise ValueError(f"{word[:20]} is larger than any number that is measured")
    return number


def _whole(word: str) -> int:
    if len(word) > MOST_DIGITS:
        raise ValueError(f"{word[:20]}... is larger than any number that is counted")
    return int(word)
