"""What the device was like during a run: the record that stands beside its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping

from .energy import Energy, energy
from .probe import CLOCK_MHZ, ENERGY_J, POWER_W, TEMPERATURE_C, THROTTLE_COUNT, THROTTLED, SensorError
from .watcher import Log, Series


@dataclass(frozen=True)
class Reading:
    """A clock (MHz), a temperature (°C) or a power (W): before, in and after the run."""

    name: str
    kind: str
    before: float
    lowest: float
    highest: float
    after: float


@dataclass(frozen=True)
class Conditions:
    """Settings of the device, readings around the run, energy of an inference, and what spoils them.

    `throttled` says what was held back during the run, `faults` why the run was not watched from end to end, and
    `absent` which sensors there are none of, with the reason.
    """

    settings: dict[str, str]
    readings: tuple[Reading, ...]
    energy: tuple[Energy, ...]
    throttled: tuple[str, ...]
    faults: tuple[str, ...]
    absent: dict[str, str]

    @property
    def clean(self) -> bool:
        """Whether the run was watched from end to end and nothing was held back, as far as sensors say."""
        return not self.faults and not self.throttled


def conditions(
    log: Log, idle: tuple[float, float], run: tuple[float, float], loads: Mapping[str, tuple[float, float, int]]
) -> Conditions:
    """The record of a run between two times, after an idle time; see `watcher`.

    `loads` has for each model from when to when it ran alone, and how often: its energy is that of this time.
    """
    readings: list[Reading] = []
    found: list[Energy] = []
    held: list[str] = []
    absent = dict(log.absent)
    for series in log.series:
        try:
            if series.kind in (POWER_W, ENERGY_J):
                found += [
                    energy(series, idle, (start, end), count, name) for name, (start, end, count) in loads.items()
                ]
            if series.kind in (CLOCK_MHZ, TEMPERATURE_C, POWER_W):
                readings.append(_reading(series, *run))
            if sentence := _held_back(series, *run):
                held.append(sentence)
        except SensorError as error:
            absent[series.name] = str(error)
    faults = log.faults(*run)
    if not any(series.kind in (THROTTLED, THROTTLE_COUNT) for series in log.series):
        faults.append("no sensor here tells of throttling")
    return Conditions(
        settings=log.settings,
        readings=tuple(readings),
        energy=tuple(found),
        throttled=tuple(held),
        faults=tuple(faults),
        absent=absent,
    )


def _reading(series: Series, start: float, end: float) -> Reading:
    inside = _around(series, start, end)
    return Reading(series.name, series.kind, inside[0], min(inside), max(inside), inside[-1])


def _held_back(series: Series, start: float, end: float) -> str:
    """A sentence where a probe of throttling says that something was held back; empty for all others."""
    if series.kind == THROTTLED:
        inside = _around(series, start, end)
        share = sum(value > 0 for value in inside) / len(inside)
        return f"{series.name} in {share:.0%} of the readings" if share else ""
    if series.kind == THROTTLE_COUNT:
        inside = _around(series, start, end)
        return f"{series.name}: {inside[-1] - inside[0]:g} events" if inside[-1] > inside[0] else ""
    return ""


def _around(series: Series, start: float, end: float) -> list[float]:
    """The values from the last reading before the run to the first one after it."""
    read = list(zip(series.times, series.values))
    before = [value for at, value in read if at <= start][-1:]
    after = [value for at, value in read if at >= end][:1]
    found = [*before, *(value for at, value in read if start < at < end), *after]
    if not found:
        raise SensorError("there is no reading from the run")
    return found
