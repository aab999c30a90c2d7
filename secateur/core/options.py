"""Options: frozen dataclasses whose annotations say what each field allows, made from a recipe's plain values."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from secateur.core.errors import PlanError, SecateurError, near_matches
from secateur.core.ranges import Range
from secateur.core.records import adapter_of, once_a_type

T = TypeVar("T")
_PLAIN = {int: (Integral, "a whole number"), float: (Real, "a number"), str: (str, "a word")}


def check_fields(
    options: object, where: str, error: type[SecateurError] = PlanError, names: Collection[str] | None = None
) -> None:
    """Raises `error` for the first field of a dataclass with a value that its annotation does not allow.

    `Literal["a", "b"]` allows these words, `Annotated[int, Range(1)]` the numbers in that range, `tuple[X, ...]` items
    that `X` allows and `X | None` nothing too; of other annotations only numbers and words are checked. `where` is what
    the user calls the options: `xmask`, `recover.distill`; only the fields `names` are checked where they are given.
    """
    for name, kind in _annotations(type(options)).items():
        if names is not None and name not in names:
            continue
        value = getattr(options, name)
        if wanted := _wanted(value, kind):
            shown = list(value) if isinstance(value, tuple) else value
            raise error(f"{where}.{name} is {shown!r}, but must be {wanted}")


def options_of(kind: type[T], given: Mapping[str, Any], where: str, error: type[SecateurError] = PlanError) -> T:
    """A dataclass from plain values, as YAML and JSON have them: lists become tuples, `1e-6` without a point a number.

    Raises `error` for an unknown name, with near matches, for a missing one and for a value of another type;
    `where` is as for `check_fields`.
    """
    from pydantic import ValidationError

    names = [field.name for field in dataclasses.fields(kind) if field.init]  # type: ignore[arg-type]  # a dataclass
    for name, value in given.items():
        if name not in names:
            allowed = ", ".join(names) or "none"
            raise error(f"{where} has no option {name!r}{near_matches(str(name), names)}; its options: {allowed}")
        if isinstance(value, bool) and (wanted := _wanted(value, _annotations(kind)[name])):  # pydantic takes it for 1
            raise error(f"{where}.{name} is {value!r}, but must be {wanted}")
    try:
        made: T = adapter_of(kind).validate_python(dict(given))
        return made
    except ValidationError as mistake:
        first = mistake.errors()[0]
        name = str(first["loc"][0])
        if first["type"] == "missing":
            raise error(f"{where} needs the option {name!r}") from None
        wanted = _wanted(given[name], _annotations(kind)[name]) or first["msg"]
        raise error(f"{where}.{name} is {given[name]!r}, but must be {wanted}") from None


def plain_options(options: object) -> dict[str, Any]:
    """The fields of a dataclass that are not at their defaults, as plain values from which `options_of` makes it again.

    What has a method `plain`, as composites of rules have, says itself what it is.
    """
    return {name: _plain(value) for name, value in _changed(options)}


def _changed(options: object) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(options):  # type: ignore[arg-type]  # a dataclass
        value = getattr(options, field.name)
        made = field.default_factory
        default = field.default if made is dataclasses.MISSING else made()
        if value is not default and value != default:
            yield field.name, value


def _plain(value: Any) -> Any:
    if callable(plain := getattr(value, "plain", None)):
        return plain()
    if dataclasses.is_dataclass(value):
        return plain_options(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


@once_a_type
def _annotations(kind: Any) -> dict[str, Any]:
    """The annotations of a dataclass's fields; nobody may change them."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _wanted(value: Any, kind: Any) -> str:
    """What an annotation wants where it does not allow the value, else an empty string."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        ranges = [allowed for allowed in inner[1:] if isinstance(allowed, Range)]
        return next((str(allowed) for allowed in ranges if value not in allowed), "") or _wanted(value, inner[0])
    if origin is Literal:
        hint = near_matches(value, inner) if isinstance(value, str) else ""
        return "" if value in inner else f"one of {', '.join(map(str, inner))}{hint}"
    if origin in (Union, UnionType):
        if value is None and NoneType in inner:
            return ""
        every = [_wanted(value, arm) for arm in inner if arm is not NoneType]
        return "" if "" in every else " or ".join(every)
    if origin is tuple and inner[1:] == (...,):
        if not isinstance(value, tuple | list):
            return "a list"
        return next((wanted for item in value if (wanted := _wanted(item, inner[0]))), "")
    allowed, words = _PLAIN.get(kind, (object, ""))
    fits = isinstance(value, allowed) and not (isinstance(value, bool) and words)
    return "" if fits else words
