"""Energy stands with its uncertainty, and what spoilt it is said."""

from __future__ import annotations

from dataclasses import replace

from secateur.export.runner.sensors.conditions import Conditions
from secateur.export.runner.sensors.energy import Energy
from secateur.pipeline.report.energy_table import conditions_of, energy_table
from tests.pipeline.report.findings import CPU, findings

ENERGY = Energy("package", False, 10.0, 0.1, 25.0, 0.5, 2.0, 100, 300.0, 12.0, "pruned")
CONDITIONS = Conditions({}, (), (ENERGY,), ("clocks in 5% of the readings",), ("not watched",), {})


def test_energy_stands_in_a_row_for_each_rail_and_model() -> None:
    table = energy_table(replace(findings().bench, conditions={CPU: CONDITIONS}))
    assert table is not None
    assert table.rows == ((CPU, "pruned", "package", "300 ± 12", "10.00 ± 0.1", "25.00 ± 0.5"),)
    assert table.unfolded
    assert energy_table(findings().bench) is None


def test_what_was_held_back_and_not_watched_is_said() -> None:
    said = conditions_of(replace(findings().bench, conditions={CPU: CONDITIONS}))
    assert said == [f"{CPU}: throttled: clocks in 5% of the readings", f"{CPU}: not watched"]
