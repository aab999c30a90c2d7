"""Removal steps: every width on the way is aligned, the least important units go first, heads stay equal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.pipeline.structure.groups import Group, Slice
from secateur.pipeline.structure.steps import removal_steps, step_size


def group(units: int, blocks: int = 1, positions: int = 1, kind: str = "mlp_hidden", least: int = 0) -> Group:
    """A group whose readers have so many positions for each unit."""
    reader = Slice("next.weight", 1, "in", tuple(np.repeat(np.arange(units), positions).tolist()))
    return Group("g", kind, units, (reader,), blocks=blocks, min_units=least)  # type: ignore[arg-type]


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 40), st.integers(1, 3), st.integers(1, 9), st.integers(0, 12), st.integers(0, 99))
def test_steps_are_those_of_the_definition(width: int, blocks: int, align: int, least: int, seed: int) -> None:
    found = group(width * blocks, blocks, kind="v_dim" if blocks > 1 else "mlp_hidden")
    scores = np.random.default_rng(seed).random(found.units)
    steps = removal_steps(found, scores, align, least)
    left = [list(range(block * width, (block + 1) * width)) for block in range(blocks)]
    for step in steps:
        for units in left:
            gone = [unit for unit in units if unit in step.units]
            assert gone == sorted(sorted(units, key=lambda unit: scores[unit])[: len(gone)])
            for unit in gone:
                units.remove(unit)
        assert len({len(units) for units in left}) == 1
        assert len(left[0]) % align == 0
        assert step.score == pytest.approx(scores[list(step.units)].mean())
    assert len(left[0]) >= min(least, width)
    aligned = [size for size in range(0, width, 1) if size % align == 0 and size >= least]
    assert len(steps) == len(aligned)  # no aligned width is left out


@pytest.mark.parametrize(("positions", "align", "size"), [(1, 8, 8), (16, 8, 1), (4, 8, 2), (3, 8, 8), (12, 8, 2)])
def test_a_unit_counts_as_many_positions_as_it_has(positions: int, align: int, size: int) -> None:
    assert step_size(group(6, positions=positions, kind="head"), align) == size
    assert step_size(group(6, 2, positions, "v_dim"), align) == align


def test_what_the_group_must_keep_stays_however_little_is_asked() -> None:
    assert [len(step.units) for step in removal_steps(group(8, least=3), np.arange(8.0), 1, 0)] == [1] * 5


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 3), st.integers(1, 9), st.integers(0, 12), st.integers(0, 99), st.data())
def test_of_what_is_left_the_steps_are_those_that_were_still_to_come(
    width: int, blocks: int, align: int, least: int, seed: int, data: st.DataObject
) -> None:
    found = group(width * blocks, blocks, kind="v_dim" if blocks > 1 else "mlp_hidden")
    scores = np.random.default_rng(seed).random(found.units)
    every = removal_steps(found, scores, align, least)
    taken = data.draw(st.integers(0, len(every)))
    gone = {unit for step in every[:taken] for unit in step.units}
    dead = range(width) if blocks > 1 and data.draw(st.booleans()) else range(0)  # a head that went whole
    left = [unit for unit in range(found.units) if unit not in gone and unit not in dead]
    steps = removal_steps(found, scores, align, least, left)
    assert [step.units for step in steps] == [
        tuple(unit for unit in step.units if unit not in dead) for step in every[taken:]
    ]
    assert all(step.score == pytest.approx(scores[list(step.units)].mean()) for step in steps)
    assert removal_steps(found, scores, align, least, []) == []
