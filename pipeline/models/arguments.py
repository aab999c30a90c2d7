"""Which arguments a file may give to timm: those of the model's own constructor, as plain values that name no place.

timm's builders take others as well, which open files and addresses (`pretrained_cfg`, `checkpoint_path`, `cache_dir`,
and what timm may add); what a recipe or a saved folder says must not reach them.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from timm.models import model_entrypoint, split_model_name_tag
from torch import nn

from secateur.core.errors import ModelError, near_matches

OVERLAY = "pretrained_cfg_overlay"
PREPROCESSING = (
    *("input_size", "min_input_size", "fixed_input_size", "test_input_size", "pool_size", "num_classes"),
    *("crop_pct", "test_crop_pct", "crop_mode", "interpolation", "mean", "std"),
)
"""What of timm's record of a model may be changed: how images are prepared for it."""
OF_BUILDERS = ("bn_tf", "bn_momentum", "bn_eps")
"""Arguments that timm's builders turn into those of constructors."""
NEVER = ("self", "device", "dtype")
_WORD = re.compile(r"[\w+-]{0,100}", re.ASCII)
DEEPEST = 8
"""Lists in lists; some models take a list for each layer of each stage."""
LARGEST = 10**6
"""Of whole numbers in the arguments: what constructors count and measure in pixels is far less."""


def check_arguments(name: str, kwargs: Mapping[str, Any], where: str) -> None:
    """Raises `ModelError` for the first argument of a timm model that a file, `where`, may not give."""
    if not isinstance(kwargs, Mapping):
        raise ModelError(f"{where} is {str(kwargs)[:80]!r}, but must be a section of arguments and values")
    allowed = constructor_arguments(split_model_name_tag(name)[0])
    for key, value in kwargs.items():
        if key == OVERLAY:
            _check_overlay(value, where)
        elif key not in allowed:
            raise ModelError(
                f"{where} has {str(key)[:80]!r}, which is no argument of what {name} is made of"
                f"{near_matches(str(key)[:80], allowed)}: give arguments of its constructor, and weights as "
                "model.weights or model.pretrained of a recipe"
            )
        elif wrong := next(_not_plain(value), ""):
            raise ModelError(f"{where}.{key} has {wrong}, but must be {_PLAIN}")


def own_arguments(name: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Of arguments that a caller gave to timm those that say how the architecture is made, and not where files are."""
    found = {}
    for key, value in kwargs.items():
        if key == OVERLAY and isinstance(value, Mapping):
            value = {name: one for name, one in value.items() if name in PREPROCESSING}
        try:
            check_arguments(name, {key: value}, "")
            found[key] = value
        except ModelError:  # where its weights lie, or how they are fetched
            continue
    return found


@cache
def constructor_arguments(architecture: str) -> frozenset[str]:
    """The names of the arguments that constructors in an architecture's module take, or builders make of others."""
    module = sys.modules[model_entrypoint(architecture).__module__]
    names = {name for kind in vars(module).values() if inspect.isclass(kind) for name in _parameters(kind)}
    return frozenset((names | {*OF_BUILDERS}) - {*NEVER})


def _parameters(kind: type) -> Iterator[str]:
    """The names that a module's constructor takes by keyword, or of the fields of a dataclass of settings."""
    if dataclasses.is_dataclass(kind):
        yield from (field.name for field in dataclasses.fields(kind))
    elif issubclass(kind, nn.Module):
        for base in kind.__mro__:
            if "__init__" in vars(base) and base.__module__.startswith("timm."):
                parameters = inspect.signature(base.__init__).parameters.values()  # type: ignore[misc]  # only its signature is read
                yield from (one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY))


_PLAIN = (
    f"numbers up to {LARGEST:,}, true, false, null, or words of letters, digits, -, + and _, which name no file and no "
    "address, or lists of these"
)


def _not_plain(value: object, depth: int = 0) -> Iterator[str]:
    """What in a value is none of `_PLAIN`."""
    if isinstance(value, str):
        if not _WORD.fullmatch(value):
            yield repr(value[:80])
    elif isinstance(value, int | float):
        if not abs(value) <= LARGEST:
            yield f"a number such as {str(value)[:20]}"
    elif isinstance(value, list | tuple) and depth < DEEPEST:
        for item in value:
            yield from _not_plain(item, depth + 1)
    elif value is not None:
        yield f"a {type(value).__name__}" + " in more than 8 lists" * (depth >= DEEPEST)


def _check_overlay(overlay: object, where: str) -> None:
    if not isinstance(overlay, Mapping) or (odd := [key for key in overlay if key not in PREPROCESSING]):
        got = f"{str(odd[0])[:80]!r}" if isinstance(overlay, Mapping) else f"{str(overlay)[:80]!r}"
        raise ModelError(f"{where}.{OVERLAY} has {got}, but may change only: {', '.join(PREPROCESSING)}")
    for key, value in overlay.items():
        if wrong := next(_not_plain(value), ""):
            raise ModelError(f"{where}.{OVERLAY}.{key} has {wrong}, but must be {_PLAIN}")
