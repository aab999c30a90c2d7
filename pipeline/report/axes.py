"""An axis of a chart: its range, its ticks, and where on it a value lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """A range with a few round ticks in it."""

    low: float
    high: float
    ticks: tuple[float, ...]

    @staticmethod
    def over(values: Sequence[float], margin: float = 0.06) -> Axis:
        """The axis that holds all `values`, with a margin on both sides; without values it goes from 0 to 1."""
        from matplotlib.ticker import MaxNLocator

        bottom, top = (min(values), max(values)) if values else (0.0, 1.0)
        room = margin * (top - bottom) or margin * abs(top) or 1.0
        low, high = bottom - room, top + room
        ticks = MaxNLocator(nbins=4, steps=[1, 2, 5, 10]).tick_values(low, high)
        return Axis(low, high, tuple(float(tick) for tick in ticks if low <= tick <= high))

    def place(self, value: float) -> float:
        """Where a value lies, in percent from the low end."""
        return 100 * (value - self.low) / (self.high - self.low)
