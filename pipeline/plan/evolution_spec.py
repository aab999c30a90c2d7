"""How widths evolve: the part of a recipe under `plan.evolution`."""

from __future__ import annotations

from dataclasses import dataclass

from secateur.core.errors import PlanError
from secateur.core.ranges import Range, check_ranges


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
        ranges = {"population": Range(3), "generations": Range(1), "images": Range(1)}
        check_ranges(self, "plan.evolution", ranges, PlanError)
