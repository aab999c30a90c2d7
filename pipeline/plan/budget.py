"""What the small model may cost, as a fraction of the dense one or as an absolute number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from secateur.pipeline.errors import PlanError
from secateur.pipeline.structure.groups import Groups, Kept

UNITS = {"K": 1e3, "M": 1e6, "G": 1e9}


@dataclass(frozen=True)
class Budget:
    """At most so many MACs, parameters or units; exactly one of the three is given.

    A number in (0, 1) is a fraction of the dense model; a string such as `600M` or `1.2G` is absolute. `units` is
    the fraction of the units of the groups that may be pruned, whatever they cost.
    """

    macs: float | str | None = None
    params: float | str | None = None
    units: float | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("macs", "params", "units") if getattr(self, name) is not None]
        if len(given) != 1:
            raise PlanError(f"a budget needs exactly one of macs, params and units, but got {given or 'none'}")
        self._parse()

    @property
    def measure(self) -> Literal["macs", "params", "units"]:
        """What is counted."""
        return "macs" if self.macs is not None else "params" if self.params is not None else "units"

    def limit(self, groups: Groups, names: list[str]) -> float:
        """The most that the small model may cost, in MACs, parameters, or units of the groups `names`."""
        value, absolute = self._parse()
        dense = self.cost(groups, {}, names)
        if absolute and value >= dense:
            raise PlanError(
                f"the budget {self.measure} = {value:.4g} is no less than the dense model's {dense:.4g}: give less"
            )
        return value if absolute else value * dense

    def cost(self, groups: Groups, kept: Kept, names: list[str]) -> float:
        """What a choice costs, in the budget's own measure."""
        if self.measure == "macs":
            return groups.macs(kept)
        if self.measure == "params":
            return float(groups.params(kept))
        return float(sum(len(kept[name]) if name in kept else groups.named(name).units for name in names))

    def _parse(self) -> tuple[float, bool]:
        given = getattr(self, self.measure)
        allowed = "a fraction between 0 and 1, or an absolute number with a unit such as 600M or 1.2G"
        wrong = PlanError(f"the budget {self.measure} is {given!r}, but must be {allowed}")
        if isinstance(given, str):
            text = given.strip()
            factor = UNITS.get(text[-1:].upper())
            try:
                number = float(text[:-1] if factor else text)
            except ValueError:
                raise wrong from None
            if factor and number > 0 and self.measure != "units":
                return number * factor, True
        else:
            number = float(given)
        if not 0 < number < 1:
            raise wrong
        return number, False
