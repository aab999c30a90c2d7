"""What the report looks at besides the measurements: the part of a recipe under `report`."""

from __future__ import annotations

from dataclasses import dataclass

from secateur.core.errors import RecipeError, naming
from secateur.core.ranges import Range, check_ranges
from secateur.pipeline.analysis.fidelity import check_rules


@dataclass(frozen=True)
class ReportSpec:
    """On how many held-out `images` both models' maps are compared (0: none), by which `rules` (`gradient`, or a
    composite of relevance rules), and how many `examples` are shown. Raises a `SecateurError` for other values.
    """

    images: int = 64
    examples: int = 4
    rules: str = "gradient"

    def __post_init__(self) -> None:
        check_ranges(self, "report", {"images": Range(0), "examples": Range(0)}, RecipeError)
        with naming("report.rules"):
            check_rules(self.rules)
