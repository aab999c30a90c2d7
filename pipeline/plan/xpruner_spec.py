"""How X-Pruner learns rates: the part of a recipe under `plan.xpruner`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from secateur.core.errors import PlanError
from secateur.core.ranges import Range, check_ranges

Loss = Literal["divergence", "cross_entropy"]
LOSSES: tuple[Loss, ...] = get_args(Loss)
MOST_LR = 0.1
"""With more, the cost would swing around the budget."""


@dataclass(frozen=True)
class XprunerSpec:
    """`steps` of descent on the rates, `batch_size` of the `images` each (0: all calibration images).

    Every group starts with the share `start` of its units; the budget tightens during the first half of the steps.
    The temperature of the soft masks rises from `cool` to `sharp`, for units on a scale from 0 to 1. `lr` is the
    share of the budget that a first step changes the cost by; it falls to 0, and with it `ascent`, how fast the
    multipliers follow the excess. The `loss` is the `divergence` from the dense model's predictions, which looks at
    no labels, or the paper's `cross_entropy`.
    """

    steps: int = 100
    batch_size: int = 32
    images: int = 200
    start: float = 0.9
    cool: float = 10.0
    sharp: float = 100.0
    lr: float = 0.05
    ascent: float = 0.5
    loss: Loss = "divergence"

    def __post_init__(self) -> None:
        ranges = {
            "steps": Range(1),
            "batch_size": Range(1),
            "images": Range(0),
            "start": Range(0, 1, strict=True),
            "cool": Range(0, strict=True),
            "sharp": Range(0, strict=True),
            "lr": Range(1e-6, MOST_LR),
            "ascent": Range(0, strict=True),
        }
        check_ranges(self, "plan.xpruner", ranges, PlanError)
        if self.loss not in LOSSES:
            raise PlanError(f"plan.xpruner.loss is {self.loss!r}, but must be one of {', '.join(LOSSES)}")
