"""Which code of others a run would import: a folder that was handed over runs none of it unasked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from secateur.core.errors import RunError
from secateur.core.import_path import is_import_path
from secateur.pipeline.runs.recipe import Recipe, plain
from secateur.pipeline.runs.runner import open_run

SECTIONS = ("model", "task", "score")
"""The sections of a recipe whose words may be import paths; words such as `torch:cpu` in others only look like them."""


def imports_of(recipe: Recipe) -> tuple[str, ...]:
    """The import paths in a recipe, each once, in its order."""
    content = plain(recipe)
    return tuple(dict.fromkeys(word for name in SECTIONS for word in _words(content.get(name)) if is_import_path(word)))


def check_trusted(folder: Path, trusted: bool) -> None:
    """Raises `RunError` for a run that would import code, unless that is `trusted`; nothing is imported for it."""
    found = () if trusted else imports_of(open_run(folder).recipe)
    if found:
        raise RunError(
            f"the recipe of {folder} would import {', '.join(found)}, and what is imported runs: add --trust if you "
            "know that code"
        )


def _words(value: Any) -> Iterator[str]:
    """All texts in plain values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _words(one)
