"""How far an engine is to travel: the part of a recipe under `export.engines`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from secateur.core.errors import RecipeError
from secateur.core.options import check_fields


@dataclass(frozen=True)
class BuildOptions:
    """On which other GPUs and with which other versions the engines of the target `tensorrt` are to run.

    Other runtimes refuse them.

    >>> from secateur.export.build_options import BuildOptions
    >>> BuildOptions(hardware="ampere_plus").plain
    False
    """

    hardware: Literal["this", "same_capability", "ampere_plus"] = "this"
    """On which GPUs the engines of the target `tensorrt` run: `this` kind alone, those of the `same_capability`, or
    `ampere_plus`, all since Ampere (not on Jetsons); the wider, the slower.
    """
    versions: Literal["this", "newer"] = "this"
    """With which versions of TensorRT they run: `this` alone, or `newer` ones too, which need this one's lean runtime
    and are slower: the engine holds no code.
    """

    def __post_init__(self) -> None:
        check_fields(self, "export.engines", RecipeError)

    @property
    def plain(self) -> bool:
        """Whether nothing is asked for that a runtime could refuse."""
        return self == PLAIN


PLAIN = BuildOptions()
"""Engines for this machine and version alone."""
