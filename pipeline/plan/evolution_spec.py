"""How widths evolve: the part of a recipe under `plan.evolution`."""

from __future__ import annotations

from dataclasses import dataclass

from secateur.pipeline.errors import PlanError


@dataclass(frozen=True)
class EvolutionSpec:
    """`generations` of `population` candidates, judged on `images` calibration images that the statistics leave out.

    Workers that name the same `storage` (the URL of a database, such as `sqlite:///plan.db`) share the work, and one
    that was stopped goes on. Without it, a run keeps its study in its own folder, and the library in memory.
    """

    population: int = 16
    generations: int = 6
    images: int = 200
    storage: str = ""

    def __post_init__(self) -> None:
        for name, least in (("population", 3), ("generations", 1), ("images", 1)):
            if getattr(self, name) < least:
                raise PlanError(f"plan.evolution.{name} is {getattr(self, name)}, but must be {least} or more")
