"""What an interval lets one say of a number: better, worse, or neither."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from secateur.benchmarks.gating.shares import loss_interval
from secateur.benchmarks.results_file import Compared

Judged = Literal["gain", "loss", "unclear"]
"""A gain or a loss that its whole interval shows, or neither."""


TOO_WIDE = 5.0
"""Points of percent: an interval that shows nothing and reaches further to both sides is of too few images."""


@dataclass(frozen=True)
class Change:
    """By how much the pruned side is better, in the metric's unit, with its 95 % interval where there is one."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def judged(self) -> Judged:
        """What the interval shows; without one, nothing."""
        return "unclear" if self.low is None or self.high is None else judged(self.low, self.high, 0)

    @property
    def unknown(self) -> bool:
        """Whether it shows nothing because so few images were seen that its interval is wide; see `TOO_WIDE`."""
        if self.low is None or self.high is None:
            return False
        return self.judged == "unclear" and self.high - self.low > 2 * TOO_WIDE


def judged(low: float, high: float, nothing: float) -> Judged:
    """A gain where the whole interval lies above `nothing`, a loss where it lies below."""
    return "gain" if low > nothing else "loss" if high < nothing else "unclear"


def change_of(found: Compared, images: int | None) -> Change:
    """The change of a metric, with an interval where it is a share of images (see `loss_interval`)."""
    ends = loss_interval(found, images)
    return Change(-found.loss) if ends is None else Change(-found.loss, -ends[1], -ends[0])
