"""The record of a run: readings around it, energy, and what spoils it."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from secateur.core.records import parse_record
from secateur.export.runner.sensors.conditions import Conditions, conditions
from secateur.export.runner.sensors.probe import CLOCK_MHZ, POWER_W, THROTTLE_COUNT, THROTTLED
from secateur.export.runner.sensors.watcher import Log, Series

TIMES = tuple(step / 10 for step in range(121))
IDLE, RUN = (0.0, 5.0), (6.0, 11.0)


def series(name: str, kind: str, before: float, inside: float, after: float) -> Series:
    values = tuple(before if at < 6.05 else inside if at < 10.95 else after for at in TIMES)
    return Series(name, kind, 0.0, TIMES, values)


def log(*found: Series, whole: bool = True) -> Log:
    held = (
        () if any(one.kind in (THROTTLED, THROTTLE_COUNT) for one in found) else (series("fast", THROTTLED, 0, 0, 0),)
    )
    return Log((*found, *held), TIMES, {}, {}, {"nvpmodel": "no Jetson"}, {}, whole)


def test_a_clean_run() -> None:
    found = conditions(
        log(series("clock", CLOCK_MHZ, 300, 900, 300), series("VDD_IN", POWER_W, 5, 7, 5)), IDLE, RUN, {"": (*RUN, 100)}
    )
    assert found.clean
    clock = found.readings[0]
    assert (clock.before, clock.lowest, clock.highest, clock.after) == (300, 300, 900, 300)
    assert found.energy[0].mj == pytest.approx(1e3 * 2 * 5 / 100, rel=0.05)
    assert found.absent == {"nvpmodel": "no Jetson"}


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (series("GPU 0 held back", THROTTLED, 0, 4, 0), "GPU 0 held back in 96% of the readings"),
        (series("over-current oc3", THROTTLE_COUNT, 4, 4, 6), "over-current oc3: 2 events"),
        (series("over-current oc3", THROTTLE_COUNT, 4, 4, 4), ""),
        (series("GPU 0 held back", THROTTLED, 0, 0, 0), ""),
    ],
)
def test_throttling_during_the_run(one: Series, said: str) -> None:
    found = conditions(log(one), IDLE, RUN, {"": (*RUN, 100)})
    assert found.throttled == ((said,) if said else ())
    assert found.clean is not bool(said)


def test_a_dead_watcher_never_makes_a_clean_run() -> None:
    found = conditions(log(series("VDD_IN", POWER_W, 5, 7, 5), whole=False), IDLE, RUN, {"": (*RUN, 100)})
    assert not found.clean and "died" in found.faults[0]


def test_nothing_is_clean_where_nothing_tells_of_throttling() -> None:
    found = conditions(Log((), TIMES, {}, {}, {}, {}, True), IDLE, RUN, {"": (*RUN, 100)})
    assert not found.clean and found.faults == ("no sensor here tells of throttling",)


def test_energy_without_enough_readings_is_said_by_name() -> None:
    found = conditions(log(series("VDD_IN", POWER_W, 5, 7, 5)), (0.0, 0.3), RUN, {"": (*RUN, 100)})
    assert not found.energy and "too few" in found.absent["VDD_IN"]


def test_a_probe_that_was_never_read_is_said_by_name() -> None:
    found = conditions(log(Series("clock", CLOCK_MHZ, 0.0, (), ())), IDLE, RUN, {"": (*RUN, 100)})
    assert found.absent["clock"] == "there is no reading from the run"


def test_it_is_a_record() -> None:
    found = conditions(log(series("VDD_IN", POWER_W, 5, 7, 5)), IDLE, RUN, {"": (*RUN, 100)})
    assert parse_record(Conditions, asdict(found), "here") == found
