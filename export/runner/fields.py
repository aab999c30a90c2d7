"""JSON from strangers: objects whose keys are read one by one, each with its type and bounds, and none is left over."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Callable, TypeVar

from .errors import BundleError

T = TypeVar("T")

MOST_BYTES = 64 << 20
"""The largest JSON file that is read."""
MOST_ITEMS = 1000000
"""The most members of one list or object; raw samples of a measurement are the longest."""
LONGEST = 20000
"""Characters of one text."""


class Fields:
    """One JSON object; `where` names it in errors."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise BundleError(f"{where} is {_kind(value)}, but an object is needed")
        self._left: dict[str, Any] = dict(value)
        self._where = where

    def text(self, key: str, pattern: str = "", default: str | None = None) -> str:
        """A text, which `pattern` matches as a whole."""
        value = self._take(key, default)
        if not isinstance(value, str) or len(value) > LONGEST or (pattern and not re.fullmatch(pattern, value)):
            raise self._wrong(key, value, "text" + (f" such as {pattern}" if pattern else ""))
        return value

    def number(self, key: str, low: float = -math.inf, high: float = math.inf) -> float:
        """A finite number from `low` to `high`."""
        return self.checked_number(self._take(key), key, low, high)

    def count(self, key: str, high: int = 1 << 62, low: int = 0) -> int:
        """A whole number from `low` to `high`."""
        value = self._take(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._wrong(key, value, f"a whole number from {low} to {high}")
        return value

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self._take(key)
        if not isinstance(value, bool):
            raise self._wrong(key, value, "true or false")
        return value

    def maybe(self, key: str, read: Callable[[str], T]) -> T | None:
        """What `read` reads under this key, or None where null stands there."""
        if key in self._left and self._left[key] is None:
            del self._left[key]
            return None
        return read(key)

    def items(self, key: str, read: Callable[[Any, str], T], most: int = MOST_ITEMS) -> tuple[T, ...]:
        """The members of a list, each as `read` reads it and its place."""
        value = self._take(key)
        if not isinstance(value, list) or len(value) > most:
            raise self._wrong(key, value, f"a list of at most {most}")
        return tuple(read(one, f"{self.place(key)}[{number}]") for number, one in enumerate(value))

    def named(self, key: str, read: Callable[[Any, str], T], most: int = MOST_ITEMS) -> dict[str, T]:
        """The members of an object by name, each as `read` reads it and its place."""
        value = self._take(key)
        if not isinstance(value, dict) or len(value) > most:
            raise self._wrong(key, value, f"an object of at most {most} keys")
        return {name: read(one, f"{self.place(key)}[{name[:80]!r}]") for name, one in value.items()}

    def inner(self, key: str) -> Fields:
        """The object under a key."""
        return Fields(self._take(key), self.place(key))

    def end(self) -> None:
        """Raises `BundleError` where a key was not read."""
        if self._left:
            raise BundleError(f"{self._where} has an unknown key {min(self._left)[:80]!r}")

    def place(self, key: str) -> str:
        """How to call what lies under a key."""
        return f"{self._where}: {key}"

    def checked_number(self, value: object, key: str, low: float = -math.inf, high: float = math.inf) -> float:
        """The value as a finite number within bounds."""
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise self._wrong(key, value, f"a number from {low:g} to {high:g}")
        if not abs(value) <= 1e300:
            raise self._wrong(key, value, "a finite number")
        return float(value)

    def _take(self, key: str, default: object = None) -> Any:
        if key not in self._left:
            if default is not None:
                return default
            raise BundleError(f"{self._where} has no {key!r}")
        return self._left.pop(key)

    def _wrong(self, key: str, value: object, allowed: str) -> BundleError:
        shown = repr(value)[:80] if not isinstance(value, (list, dict)) else _kind(value)
        return BundleError(f"{self.place(key)} is {shown}, but {allowed} is needed")


def text_of(value: object, where: str) -> str:
    """A text that is a member of a list or an object."""
    return Fields({"value": value}, where).text("value")


def number_of(value: object, where: str) -> float:
    """A number that is a member of a list or an object."""
    return Fields({"value": value}, where).number("value")


def read_object(data: bytes, where: str, schema: str) -> Fields:
    """The JSON object in `data` of that schema; raises `BundleError` for anything else.

    Refused are more than `MOST_BYTES`, a name that stands twice in one object, and numbers that JSON does not have.
    """
    if len(data) > MOST_BYTES:
        raise BundleError(f"{where} has {len(data)} bytes, but at most {MOST_BYTES} are read")
    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where} is not valid JSON ({str(error)[:200]})") from error
    fields = Fields(found, where)
    said = fields.text("schema")
    if said != schema:
        raise BundleError(f"{where} has the schema {said[:80]!r}, but {schema!r} is needed")
    return fields


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no number of JSON")


def _kind(value: object) -> str:
    words = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return words.get(type(value), "a number")
