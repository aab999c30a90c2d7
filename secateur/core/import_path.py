"""Import paths: how a recipe names a function of its user's own, `package.module:function`."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from secateur.core.errors import RecipeError
from secateur.core.files import sha256_once

_FORM = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_import_path(word: str) -> bool:
    """Whether a word has the form of an import path; nothing is imported."""
    return _FORM.fullmatch(word) is not None


@cache
def imported(path: str) -> Callable[..., Any]:
    """The function (or class) of an import path, whose module is imported for it.

    Raises `RecipeError` for a word of another form, a module that cannot be imported, and a name that it has not.
    """
    if not is_import_path(path):
        raise RecipeError(f"{path!r} is no import path: give package.module:function, such as mine.losses:focal")
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except AttributeError as error:
        raise RecipeError(f"{path}: the module {module} has no {name}: name a function that it has") from error
    except Exception as error:  # the user's module may raise anything
        said = " ".join(str(error).split()) or type(error).__name__
        raise RecipeError(
            f"{path}: the module {module} cannot be imported ({said}): install it, or put its folder into PYTHONPATH"
        ) from error
    if not callable(found):
        raise RecipeError(f"{path} is a {type(found).__name__}, but must be a function or a class")
    function: Callable[..., Any] = found
    return function


def takes(path: str, argument: str) -> bool:
    """Whether the function of an import path takes an argument of that name, or any, as far as its signature says."""
    try:
        parameters = inspect.signature(imported(path)).parameters
    except (TypeError, ValueError):  # a compiled function may not say
        return False
    return argument in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def source_digest(path: str) -> str:
    """The SHA-256 of the file of an import path's module, which is not imported; empty where there is no such file."""
    try:
        spec = find_spec(path.partition(":")[0])
    except (ImportError, ValueError):
        return ""
    origin = Path(spec.origin) if spec is not None and spec.origin else None
    return sha256_once(origin) if origin is not None and origin.is_file() else ""
