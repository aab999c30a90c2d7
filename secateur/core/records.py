"""Records: the frozen dataclass of a JSON file, which writes it and reads it again, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from secateur.core.errors import RunError, SecateurError
from secateur.core.files import read_json, write_json

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from pydantic import TypeAdapter

T = TypeVar("T")


def write_record(path: Path, kind: str, record: DataclassInstance) -> None:
    """Writes a dataclass as JSON of the schema `secateur.<kind>/1`, atomically: its fields are the keys."""
    write_json(path, kind, asdict(record))


def read_record(path: Path, kind: str, cls: type[T], error: type[SecateurError] = RunError, remedy: str = "") -> T:
    """What `write_record` wrote, as the dataclass `cls`.

    Raises `RunError` when the file cannot be read or has another schema, and `error` for content that `cls` has not.
    """
    return parse_record(cls, read_json(path, kind), str(path), error, remedy)


def parse_record(
    cls: type[T], content: Mapping[str, Any], where: str, error: type[SecateurError] = RunError, remedy: str = ""
) -> T:
    """A dataclass from the plain values that JSON has: lists become tuples, objects the dataclasses of their fields.

    Raises `error` as `checked` does.
    """
    return checked(cls, {key: value for key, value in content.items() if key != "schema"}, where, error, remedy)


def once_a_type(make: Callable[[Any], T]) -> Callable[[Any], T]:
    """`make`, called once for each type: `functools.cache`, whose own annotation refuses types."""
    return cache(make)


@once_a_type
def adapter_of(kind: Any) -> TypeAdapter[Any]:
    """What makes a type's values from plain ones; making it takes longer than using it."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def checked(kind: type[T], content: object, where: str, error: type[SecateurError] = RunError, remedy: str = "") -> T:
    """What JSON has in a place as the type that belongs there.

    Raises `error` with the first field that does not fit, or that there is not, at any depth; `where` names the file,
    `remedy` what to do about it.
    """
    from pydantic import ValidationError

    try:
        made: T = adapter_of(kind).validate_python(content, extra="forbid")
        return made
    except ValidationError as mistake:
        first = mistake.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        advice = remedy or "restore the file or make it again"
        if first["type"] == "unexpected_keyword_argument":
            raise error(f"{where} has an unknown key {place!r}: {advice}") from None
        raise error(f"{where}: {place}: {first['msg']}: {advice}") from None
