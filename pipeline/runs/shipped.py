"""The recipes that come with secateur."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from secateur.core.errors import RecipeError, near_matches

FOLDER = "secateur.recipes"
END = ".yaml"


@dataclass(frozen=True)
class Shipped:
    """A recipe by its name, with its text and what the first sentence of its comment says of it."""

    name: str
    summary: str
    text: str


def shipped_recipes() -> tuple[Shipped, ...]:
    """All of them, by name."""
    found = {one.name.removesuffix(END): one for one in files(FOLDER).iterdir() if one.name.endswith(END)}
    return tuple(_read(name, found[name].read_text(encoding="utf-8")) for name in sorted(found))


def shipped_recipe(name: str) -> Shipped:
    """The one of that name; raises `RecipeError`, with near matches, where there is none."""
    found = {one.name: one for one in shipped_recipes()}
    if name not in found:
        raise RecipeError(f"there is no recipe {name!r}, but {', '.join(found)}{near_matches(name, found)}")
    return found[name]


def shipped_path(name: str) -> Path | None:
    """The file of the recipe of that name; None where there is none."""
    path = Path(str(files(FOLDER) / f"{name}{END}"))
    return path if path.is_file() else None


def _read(name: str, text: str) -> Shipped:
    """A recipe with the first sentence of the comment that it begins with."""
    comment = " ".join(line.removeprefix("# ") for line in text[: text.index("\nmodel:")].splitlines())
    return Shipped(name, f"{comment.partition('. ')[0].rstrip('.')}.", text)
