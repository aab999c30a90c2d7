"""Which code of others a run would import: one that was handed over imports none of it unasked.

What is trusted is code with its arguments, not a folder: the calls that this user has made on this machine already, of
functions of the same names in the same files with the same arguments, are made again without a question. A run of
one's own goes on so, also where it was moved or copied; one that comes back changed does not.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from secateur.core.errors import RunError
from secateur.core.files import sha256_json, write_json
from secateur.core.import_path import is_import_path
from secateur.core.state_folder import state_folder
from secateur.pipeline.runs.recipe import Recipe, RecipeLike, plain, recipe_of
from secateur.pipeline.runs.run_folder import RUN, is_ours

SECTIONS = ("model", "task", "score")
"""The sections of a recipe whose words may be import paths; words such as `torch:cpu` in others only look like them."""

_log = logging.getLogger(__name__)


def imports_of(recipe: Recipe) -> tuple[str, ...]:
    """The import paths in a recipe, each once, in its order."""
    content = plain(recipe)
    return tuple(dict.fromkeys(word for name in SECTIONS for word in _words(content.get(name)) if is_import_path(word)))


def check_trusted(recipe: Recipe, where: Path, trust: bool = False) -> None:
    """Raises `RunError` for a recipe that would import what nobody has trusted here, unless it is to be trusted now.

    Nothing is imported for it. What is trusted by `trust` stays so; raises `RunError` where that cannot be noted down.
    """
    calls = _calls(recipe)
    if trust:
        _note(calls)
    elif unknown := [path for path, call in calls.items() if not _place(call).is_file()]:
        raise RunError(
            f"the recipe {where} would import {', '.join(unknown)}, and what is imported runs: add --trust (in "
            "Python trust=True) if you know that code"
        )


def recipe_to_run(recipe: RecipeLike, settings: Sequence[str] = (), trust: bool = False) -> Recipe:
    """The recipe that a user gives to run, read by `recipe_of`; what it names is theirs to import.

    The recipe.yaml of a run's folder is not: raises `RunError` for it as `check_trusted` does.
    """
    found = recipe_of(recipe, settings)
    if isinstance(recipe, str | Path) and is_ours(Path(recipe).resolve().parent, RUN):
        check_trusted(found, Path(recipe), trust)
    return found


def remember(recipe: Recipe) -> None:
    """Notes down that this user runs a recipe, so that its run goes on unasked; warns where that cannot be written."""
    try:
        _note(_calls(recipe))
    except RunError as error:
        _log.warning("later commands on this run will ask for --trust: %s", error)


def _calls(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """What a recipe would call, by the import path: where that is found, and the arguments that the recipe gives it."""
    kwargs = plain(recipe.model.kwargs)
    return {
        path: {"function": path, "file": _origin(path), "kwargs": kwargs if path == recipe.model.name else {}}
        for path in imports_of(recipe)
    }


def _origin(path: str) -> str:
    """The file of the package or module that an import path begins with, which is not imported; empty for none."""
    try:
        spec = find_spec(path.partition(":")[0].partition(".")[0])
    except (ImportError, ValueError):
        return ""
    if spec is None:
        return ""
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    return "|".join(str(Path(place).resolve()) for place in places)


def _place(call: dict[str, Any]) -> Path:
    """The note on a call, which is there where it is trusted."""
    return state_folder() / "trusted" / f"{sha256_json(call)}.json"


def _note(calls: dict[str, dict[str, Any]]) -> None:
    """Writes the notes that are not there yet."""
    for call in calls.values():
        if not (path := _place(call)).is_file():
            write_json(path, "trusted", call)


def _words(value: Any) -> Iterator[str]:
    """All texts in plain values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _words(one)
