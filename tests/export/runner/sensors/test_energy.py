"""Millijoules of an inference, against sums written from the definition."""

from __future__ import annotations

import random
import statistics

import pytest

from secateur.export.runner.sensors.energy import energy, mean_power
from secateur.export.runner.sensors.probe import ENERGY_J, POWER_W, SensorError
from secateur.export.runner.sensors.watcher import Series

IDLE, RUN = (0.0, 10.0), (10.0, 30.0)
TIMES = tuple(step / 10 for step in range(301))


def power(run_w: float = 7.0, noise_w: float = 0.0, seed: int = 0) -> Series:
    """5 W before 10 s, and so much after it."""
    draw = random.Random(seed)
    values = tuple((5.0 if at < 10 else run_w) + draw.gauss(0, noise_w) for at in TIMES)
    return Series("VDD_IN", POWER_W, 0.0, TIMES, values)


def counter(wraps_at: float = 0.0) -> Series:
    """The energy of the same, as a counter that begins anew at `wraps_at`."""
    total, values = 90.0, []
    for at in TIMES:
        values.append(total % wraps_at if wraps_at else total)
        total += 0.1 * (5.0 if at < 10 else 7.0)
    return Series("RAPL package-0", ENERGY_J, wraps_at, TIMES, tuple(values))


@pytest.mark.parametrize("series", [power(), counter(), counter(wraps_at=100.0)])
def test_idle_is_subtracted(series: Series) -> None:
    found = energy(series, IDLE, RUN, inferences=400)
    assert (found.idle_w, found.run_w) == (pytest.approx(5.0, abs=0.02), pytest.approx(7.0, abs=0.02))
    assert found.mj == pytest.approx(2.0 * 20 / 400 * 1e3, rel=0.01)
    assert found.board is (series.name == "VDD_IN")


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """With independent noise, for which batch means are exact; 200 draws of a share of 95 % are within 3 points."""
    truth = 1e3 * 2.0 * 20 / 400
    found = [energy(power(noise_w=0.5, seed=seed), (0.0, 9.9), RUN, 400) for seed in range(200)]
    covered = statistics.mean(abs(one.mj - truth) <= one.mj_error for one in found)
    assert covered == pytest.approx(0.95, abs=0.03)


def test_a_counter_that_goes_back_without_a_range_is_refused() -> None:
    with pytest.raises(SensorError, match="went back"):
        mean_power(Series("GPU 0 energy", ENERGY_J, 0.0, TIMES, counter(100.0).values), *RUN)


def test_too_few_readings_have_no_uncertainty() -> None:
    with pytest.raises(SensorError, match="too few"):
        mean_power(power(), 0.0, 1.5)


def test_uneven_times_weigh_as_long_as_they_last() -> None:
    times = (*(step / 10 for step in range(20)), 5.0, 8.0)
    series = Series("VDD_IN", POWER_W, 0.0, times, (1.0,) * 20 + (1.0, 3.0))
    assert mean_power(series, 0.0, 8.0)[0] == pytest.approx((1.9 + 3.1 + 3.0 * 2.0) / 8.0)
