"""The multiple-choice knapsack: against all choices tried in turn and HiGHS, whatever the order, and within its gap."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp

from secateur.core.errors import PlanError
from secateur.pipeline.plan import multiple_choice
from secateur.pipeline.plan.multiple_choice import least_loss

Parts = list[NDArray[np.float64]]
SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=3)


def total(parts: Parts, choice: Sequence[int]) -> float:
    return sum(float(part[number]) for part, number in zip(parts, choice, strict=True))


def best_of_all(losses: Parts, savings: Parts, asked: float) -> tuple[float, float]:
    """The least loss, and the most that is saved with it."""
    every = product(*(range(len(part)) for part in losses))
    loss, saving = min((total(losses, c), -total(savings, c)) for c in every if total(savings, c) >= asked)
    return loss, -saving


def drawn(sizes: list[int], seed: int, low: int = -2) -> tuple[Parts, Parts]:
    """Small whole numbers, many of which are equal or no better than others; the first choice is 0."""
    rng = np.random.default_rng(seed)
    losses = [np.append(0, rng.integers(low, 6, size)).astype(float) for size in sizes]
    savings = [np.append(0, rng.integers(0, 5, size)).astype(float) for size in sizes]
    return losses, savings


@settings(max_examples=60, deadline=None)
@given(SIZES, st.floats(0, 1), st.integers(0, 9999))
def test_no_other_choice_is_better(sizes: list[int], share: float, seed: int) -> None:
    losses, savings = drawn(sizes, seed)
    asked = float(np.floor(share * sum(part.max() for part in savings)))
    choice = least_loss(losses, savings, asked)
    assert (total(losses, choice), total(savings, choice)) == best_of_all(losses, savings, asked)


@settings(max_examples=40, deadline=None)
@given(SIZES, st.integers(0, 9999), st.randoms(use_true_random=False))
def test_the_order_of_the_classes_decides_nothing(sizes: list[int], seed: int, random: Random) -> None:
    losses, savings = drawn(sizes, seed)
    asked = sum(part.max() for part in savings) // 2
    places = list(range(len(sizes)))
    random.shuffle(places)
    first = least_loss(losses, savings, asked)
    other = least_loss([losses[place] for place in places], [savings[place] for place in places], asked)
    taken = [
        sorted((*losses[p], *savings[p], choice[i]) for i, p in enumerate(order))
        for order, choice in ((range(len(sizes)), first), (places, other))
    ]
    assert taken[0] == taken[1]


@settings(max_examples=40, deadline=None)
@given(SIZES, st.integers(0, 9999))
def test_with_too_many_states_it_stays_within_the_gap(sizes: list[int], seed: int) -> None:
    losses, savings = drawn(sizes, seed, low=0)
    asked = sum(part.max() for part in savings) // 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multiple_choice, "STATES", 0)
        patch.setattr(multiple_choice, "GAP", 0.3)
        choice = least_loss(losses, savings, asked)
    assert total(savings, choice) >= asked
    assert total(losses, choice) <= 1.3 * best_of_all(losses, savings, asked)[0]


@pytest.mark.parametrize("alike", [False, True], ids=["any", "losses like savings"])
def test_it_is_as_good_as_a_solver(alike: bool) -> None:
    """Losses that are savings and something are what solvers find hard."""
    rng = np.random.default_rng(0)
    steps = [rng.integers(1, 1000, 16) for _ in range(12)]
    savings = [np.append(0.0, np.cumsum(part)) for part in steps]
    losses = [part + 100 * (part > 0) if alike else np.append(0, np.cumsum(rng.random(16) ** 4)) for part in savings]
    asked = sum(part[-1] for part in savings) / 2
    one_each = np.kron(np.eye(12), np.ones(17))
    saved = LinearConstraint(np.concatenate(savings)[None] / 1000, asked / 1000, np.inf)
    judged = milp(
        np.concatenate(losses),
        constraints=[LinearConstraint(one_each, 1, 1), saved],
        integrality=np.ones(12 * 17),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 1e-4, "node_limit": 100},
    )
    choice = least_loss(losses, savings, asked)
    assert total(savings, choice) >= asked
    assert total(losses, choice) <= judged.fun + 1e-6
    assert total(losses, choice) >= judged.mip_dual_bound - 1e-6


def test_sums_that_are_no_whole_numbers_are_met() -> None:
    savings = [np.array([0.0, 0.1]), np.array([0.0, 0.2]), np.array([0.0, 0.3])]
    assert least_loss(savings, savings, 0.1 + 0.2 + 0.3) == [1, 1, 1]
    nothing = [np.zeros(3), np.zeros(2)]
    assert least_loss(nothing, nothing, 0.0) == [0, 0]


def test_the_budget_cannot_be_dodged() -> None:
    with pytest.raises(PlanError, match="no solution"):
        least_loss([np.array([0.0, 1.0])], [np.array([0.0, 1.0])], 2.0)
