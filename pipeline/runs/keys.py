"""The keys of a recipe: what each takes, what it is by default and what it does, read from the recipe's dataclasses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from typing import Any, get_type_hints

import yaml

from secateur.core.errors import RecipeError, near_matches
from secateur.core.field_docs import field_docs
from secateur.pipeline.plan.allocation import ALLOCATIONS, find_allocation
from secateur.pipeline.plan.spec import PlanSpec
from secateur.pipeline.runs.recipe import Recipe, allowed_words, plain
from secateur.pipeline.scores.registry import METHODS

REQUIRED = "required"
OPTIONS = "score.options"


@dataclass(frozen=True)
class Key:
    """A key of a recipe, such as `plan.align`: what it takes, its default in YAML (or `required`), and what it does.

    `method` is the score method that alone has it, for a key of `score.options`.
    """

    name: str
    takes: str
    default: str
    summary: str
    method: str = ""


@cache
def describe_keys() -> tuple[Key, ...]:
    """All keys of a recipe that hold a value, in the order of its sections, with the options of every score method.

    >>> from secateur.pipeline.runs.keys import describe_keys
    >>> next(key.takes for key in describe_keys() if key.name == "plan.align")
    'a whole number, 1 or more'
    """
    return tuple(_keys_of(Recipe, ""))


def find_keys(word: str) -> tuple[Key, ...]:
    """The keys of that name, or all keys of the section of that name.

    Raises `RecipeError`, with near matches, where there are none.
    """
    keys = describe_keys()
    found = tuple(key for key in keys if key.name == word or key.name.startswith(f"{word}."))
    if not found:
        names = [key.name for key in keys]
        same = [name for name in names if word and name.rpartition(".")[2] == word.rpartition(".")[2]]
        hint = f"; did you mean {' or '.join(map(repr, same[:3]))}?" if same else near_matches(word, names)
        raise RecipeError(f"a recipe has no key {word!r}{hint}; `secateur explain` lists them all")
    return found


def _keys_of(kind: Any, place: str, method: str = "") -> Iterator[Key]:
    """The keys of a section that `kind` is the dataclass of; `place` is what their names begin with."""
    kind = PlanSpec.kind_for({}) if kind is PlanSpec else kind
    hints, docs = get_type_hints(kind, include_extras=True), _docs(kind, place)
    for item in fields(kind):
        name, hint = place + item.name, hints[item.name]
        if is_dataclass(hint):
            yield from _keys_of(hint, f"{name}.")
            continue
        yield Key(name, allowed_words(hint), _default(item), docs.get(item.name, ""), method)
        if name == OPTIONS:
            for word in METHODS.own():
                yield from _keys_of(METHODS.find(word), f"{OPTIONS}.", word)


def _docs(kind: type, place: str) -> dict[str, str]:
    """The texts of a section's fields; a section of `plan` has those of its allocation."""
    section = place.removeprefix("plan.").rstrip(".")
    return field_docs(find_allocation(section) if section in ALLOCATIONS.own() else kind)


def _default(item: Field[Any]) -> str:
    """A field's default as YAML in one line."""
    if item.default_factory is not MISSING:
        value = item.default_factory()
    elif item.default is not MISSING:
        value = item.default
    else:
        return REQUIRED
    return in_one_line(plain(value))


def in_one_line(value: Any) -> str:
    """A plain value as YAML in one line."""
    return yaml.safe_dump([value], default_flow_style=True, width=10**6).strip()[1:-1]
