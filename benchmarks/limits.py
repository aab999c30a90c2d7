"""What a gate asks for: limits on speed, cost, accuracy and likeness, and how they are written."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields

from secateur.core.errors import BenchError

COUNT_UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
SIZE_UNITS = {
    "": 1.0,
    "B": 1.0,
    "kB": 1e3,
    "MB": 1e6,
    "GB": 1e9,
    "KiB": 2.0**10,
    "MiB": 2.0**20,
    "GiB": 2.0**30,
}
ENERGY_UNITS = {"": 1.0, "uJ": 1e-3, "mJ": 1.0, "J": 1e3}
RELATIVE = 0.95
"""The default share of the baseline's speedup that a candidate must keep.

Two sessions of the same model differ by a percent or two (memory layout, temperature), which no interval of one
session can know; with a limit of 1 an unchanged model would rarely pass.
"""

DRIFT = 1.5
"""How many times as long the dense side may take as at the baseline: more than clocks and neighbours usually do."""


@dataclass(frozen=True)
class Amount:
    """An upper limit: `value` in MACs, bytes or millijoules, or as a fraction of the dense side's."""

    value: float
    fraction: bool

    def of(self, dense: float | None, what: str) -> float:
        """The limit as a number; raises `BenchError` when it is a fraction of something unknown."""
        if not self.fraction:
            return self.value
        if dense is None:
            raise BenchError(
                f"a limit of {self.value:g} of dense needs the dense side's {what}, which is not in the file: give an "
                "absolute limit, or measure again from a run directory"
            )
        return self.value * dense


@dataclass(frozen=True)
class Limits:
    """What must hold. None asks nothing; `targets` empty means every target (`onnxruntime:cpu@b8` names one batch,
    `onnxruntime:cpu@fp16` another precision than fp32).

    `min_speedup`: of the candidate over its own dense side. `min_relative`: the share of the baseline's speedup that
    the candidate's must reach. `max_macs` and `max_size` for one image and in bytes. `min_top1` in percent,
    `max_drop` by how much the metric of the model's task may be worse than the candidate's own dense side: points of
    top-1 and of other percentages, or in the unit of the labels. `max_latency`, `max_p90` and `max_p99`: milliseconds
    of the candidate for one run of a batch, its median and percentiles. `max_drift`: how many times as long the dense
    side may take as at the baseline; more than `DRIFT` is inconclusive without it. `max_energy`: millijoules of an
    image above idle. `min_fidelity`: the mean cosine of both models' relevance maps. `max_parity`: the largest
    difference of a graph's answers from PyTorch's over their scale. `align`: widths that were cut are multiples of it.
    """

    min_speedup: float | None = None
    min_relative: float | None = None
    max_macs: Amount | None = None
    max_size: Amount | None = None
    min_top1: float | None = None
    max_drop: float | None = None
    max_latency: float | None = None
    max_p90: float | None = None
    max_p99: float | None = None
    max_drift: float | None = None
    max_energy: Amount | None = None
    min_fidelity: float | None = None
    max_parity: float | None = None
    align: int | None = None
    targets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("min_speedup", "min_relative"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise BenchError(f"got {name} {value}: give a ratio above 0, such as 1.3")
        for name in ("max_latency", "max_p90", "max_p99"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise BenchError(f"got {name} {value}: give milliseconds above 0, such as 5.5")
        if self.max_drift is not None and not (math.isfinite(self.max_drift) and self.max_drift >= 1):
            raise BenchError(f"got max_drift {self.max_drift}: give a ratio of 1 or more, such as 1.2")
        if self.min_top1 is not None and not 0 <= self.min_top1 <= 100:
            raise BenchError(f"got min_top1 {self.min_top1}: give percent, from 0 to 100")
        if self.min_top1 is not None and 0 < self.min_top1 <= 1:
            raise BenchError(
                f"got min_top1 {self.min_top1}, which looks like a share: give percent, such as {100 * self.min_top1:g}"
            )
        if self.min_fidelity is not None and not -1 <= self.min_fidelity <= 1:
            raise BenchError(f"got min_fidelity {self.min_fidelity}: give a cosine from -1 to 1, such as 0.8")
        if self.max_parity is not None and not (math.isfinite(self.max_parity) and self.max_parity > 0):
            raise BenchError(f"got max_parity {self.max_parity}: give a share of the output's scale, such as 1e-3")
        if self.align is not None and self.align < 2:
            raise BenchError(f"got align {self.align}: give a number of 2 or more, such as 8")
        if self.max_drop is not None and not math.isfinite(self.max_drop):
            raise BenchError(f"got max_drop {self.max_drop}: give a number, such as 1.0")

    @property
    def empty(self) -> bool:
        """True where nothing at all is asked for."""
        return all(getattr(self, item.name) is None for item in fields(self) if item.name != "targets")

    @property
    def timed(self) -> bool:
        """True where milliseconds of the candidate are limited."""
        return any(one is not None for one in (self.max_latency, self.max_p90, self.max_p99))


def parse_amount(text: str, units: dict[str, float]) -> Amount:
    """The limit that `text` says: a number with one of `units`, or up to 1 and without a unit a fraction of dense.

    Raises `BenchError` for anything else.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)(e\d+)?\s*([A-Za-z]*)\s*", text)
    value = float(found[1] + (found[2] or "")) if found else 0.0
    if found is None or found[3] not in units or not 0 < value < 1e30:
        named = ", ".join(unit for unit in units if unit)
        usual = (
            "5mJ"
            if "mJ" in units
            else f"600{max((one for one in units if units[one] <= 2**20), key=units.__getitem__)}"
        )
        raise BenchError(
            f"got the limit {text!r}: give a fraction of dense up to 1, such as 0.5, or a number with a unit "
            f"({named}), such as {usual}"
        )
    if not found[3] and value <= 1:
        return Amount(value, fraction=True)
    return Amount(value * units[found[3]], fraction=False)
