"""What the report looks at besides the measurements: the part of a recipe under `report`."""

from __future__ import annotations

from dataclasses import dataclass

from secateur.core.errors import RecipeError, naming
from secateur.core.ranges import Range, check_ranges
from secateur.pipeline.analysis.fidelity import check_rules


@dataclass(frozen=True)
class ReportSpec:
    """On how many held-out images both models' maps are compared; raises a `SecateurError` for other values."""

    images: int = 64
    """On how many held-out images both models' maps are compared; 0 for none."""
    examples: int = 4
    """How many of these images are shown."""
    rules: str = "gradient"
    """How the maps are made: `gradient`, or a composite of relevance rules such as `epsilon`."""

    def __post_init__(self) -> None:
        check_ranges(self, "report", {"images": Range(0), "examples": Range(0)}, RecipeError)
        with naming("report.rules"):
            check_rules(self.rules)
