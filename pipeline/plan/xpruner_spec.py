"""How X-Pruner learns rates: the part of a recipe under `plan.xpruner`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from secateur.pipeline.errors import PlanError

Loss = Literal["divergence", "cross_entropy"]
LOSSES: tuple[Loss, ...] = get_args(Loss)
MOST_LR = 0.1


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
        for name, least in (("steps", 1), ("batch_size", 1), ("images", 0)):
            if getattr(self, name) < least:
                raise PlanError(f"plan.xpruner.{name} is {getattr(self, name)}, but must be {least} or more")
        for name in ("cool", "sharp", "lr", "ascent"):
            if not getattr(self, name) > 0:
                raise PlanError(f"plan.xpruner.{name} is {getattr(self, name)}, but must be more than 0")
        if self.lr > MOST_LR:
            raise PlanError(f"plan.xpruner.lr is {self.lr}, but must be {MOST_LR} or less, or the cost would swing")
        if not 0 < self.start < 1:
            raise PlanError(f"plan.xpruner.start is {self.start}, but must lie between 0 and 1")
        if self.loss not in LOSSES:
            raise PlanError(f"plan.xpruner.loss is {self.loss!r}, but must be one of {', '.join(LOSSES)}")
