"""A stage: what it declares that it reads, and what it does with that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from secateur.core.say import Say
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.declarations import Declaration
from secateur.pipeline.runs.inputs import Inputs
from secateur.pipeline.runs.manifest import Entry
from secateur.pipeline.runs.recipe import Recipe


@dataclass(frozen=True)
class Stage:
    """One stage of a run; it knows nothing of later ones.

    `execute` writes files and returns their names in the run directory; it says in between what it is doing, and can
    open only what `reads` declares (`also`: besides, for some recipes). `keeps` are patterns of working files that it
    may find again (checkpoints, studies). `help` is what the other processes of a launcher do for it when it calls
    them. A stage that is not `wanted` by a recipe is left out.
    """

    name: str
    reads: tuple[Declaration, ...]
    execute: Callable[[Inputs, Say], list[str]]
    also: Callable[[Recipe], Sequence[Declaration]] = lambda recipe: ()
    keeps: tuple[str, ...] = ()
    help: Callable[[Inputs], object] | None = None
    wanted: Callable[[Recipe], bool] = lambda recipe: True

    def declared(self, recipe: Recipe) -> tuple[Declaration, ...]:
        """All that the stage reads for a recipe."""
        return (*self.reads, *self.also(recipe))

    def inputs(self, run: Run, finished: Mapping[str, Entry]) -> Inputs:
        """What the stage is handed, once the stages before it are finished."""
        return Inputs(self.name, self.declared(run.recipe), self.keeps, run, finished)

    def identity(self, run: Run, finished: Mapping[str, Entry]) -> dict[str, str]:
        """All that decides the stage's result, by name: hashes of content, and plain values of the environment."""
        found: dict[str, str] = {}
        for one in self.declared(run.recipe):
            found |= one.identity(run, finished)
        return found
