"""The registry of score methods: a new method is one file with one decorated function."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from secateur.core.errors import PlanError, near_matches

Scored = Mapping[str, Tensor]
"""For each group, by name, a float tensor `[units]` or `[classes, units]`; larger is more important."""
ScoreFunction = Callable[..., Scored]
"""Called as `function(model, groups, loader, seed=seed, **options)`.

A function that trains takes `say`, which is told of its progress, and `folder` for its checkpoints (None: no place).
"""

MODULES = ("random", "magnitude", "activation", "taylor", "lrp_score", "integrated_gradients", "obs", "xmask_score")
GIVEN = ("model", "groups", "loader", "seed", "say", "folder")
"""The parameters of a score function that are no options."""


@dataclass(frozen=True)
class Method:
    """A registered method: its name, its function, the options that it takes besides `seed`, whether it trains."""

    name: str
    function: ScoreFunction
    options: tuple[str, ...]
    trains: bool


_METHODS: dict[str, Method] = {}


def method(name: str) -> Callable[[ScoreFunction], ScoreFunction]:
    """A decorator that registers a score function under `name`; raises `ValueError` on a duplicate."""

    def register(function: ScoreFunction) -> ScoreFunction:
        if name in _METHODS:
            raise ValueError(f"the score method {name!r} is registered twice")
        taken = inspect.signature(function).parameters
        options = tuple(key for key in taken if key not in GIVEN)
        _METHODS[name] = Method(name, function, options, "folder" in taken)
        return function

    return register


def methods() -> tuple[str, ...]:
    """The names of all registered methods, sorted."""
    for module in MODULES:
        importlib.import_module(f"secateur.pipeline.scores.{module}")
    return tuple(sorted(_METHODS))


def find_method(name: str) -> Method:
    """The method of that name; raises `PlanError` with the choices when there is none."""
    known = methods()
    if name not in known:
        raise PlanError(f"there is no score method {name!r}, but {', '.join(known)}{near_matches(name, known)}")
    return _METHODS[name]
