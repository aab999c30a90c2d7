"""Axes hold all values, with round ticks inside."""

from __future__ import annotations

import pytest

from secateur.pipeline.report.axes import Axis


@pytest.mark.parametrize("values", [[3.0, 7.5], [1e6, 2.5e9], [-4.0, 4.0], [5.0], [0.0], []])
def test_all_values_lie_inside_and_so_do_the_ticks(values: list[float]) -> None:
    axis = Axis.over(values)
    assert all(0 < axis.place(value) < 100 for value in values)
    assert axis.ticks
    assert all(axis.low <= tick <= axis.high for tick in axis.ticks)


def test_a_value_lies_between_the_ends_as_it_should() -> None:
    axis = Axis(10.0, 20.0, ())
    assert [axis.place(value) for value in (10.0, 12.5, 20.0)] == [0, 25, 100]
