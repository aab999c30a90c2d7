"""Fitting a budget: the shortest prefix of the order that meets it, and nothing that could stay goes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.core.errors import PlanError
from secateur.pipeline.plan.allocation import Order, Problem
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.fit_budget import check_reach, fit_budget
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.steps import removal_steps
from tests.conftest import make_vit


@pytest.fixture(scope="module")
def groups() -> Groups:
    return find_groups(make_vit(), torch.zeros(1, 3, 16, 16))


def problem_of(groups: Groups, budget: Budget, least: int = 8, seed: int = 0) -> Problem:
    draws = np.random.default_rng(seed)
    chosen = [group for group in groups if group.kind in ("mlp_hidden", "v_dim")]
    return Problem(groups, {g.name: removal_steps(g, draws.random(g.units), 4, least) for g in chosen}, budget)


def drawn(problem: Problem, seed: int) -> Order:
    """The steps of all groups, shuffled into each other."""
    left = {name: list(steps) for name, steps in problem.steps.items()}
    draws, order = np.random.default_rng(seed), []
    while names := [name for name, steps in left.items() if steps]:
        order.append(left[names[draws.integers(len(names))]].pop(0))
    return order


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["macs", "params", "units"]), st.floats(0.3, 0.98), st.integers(0, 999))
def test_the_budget_is_met_and_no_step_could_be_taken_back(
    groups: Groups, measure: str, share: float, seed: int
) -> None:
    problem = problem_of(groups, Budget(**{measure: share}))
    order = drawn(problem, seed)
    try:
        choice = fit_budget(problem, order)
    except PlanError:
        assert problem.cost({s.group: [] for s in order}) > problem.limit() or share < 0.6
        return
    assert choice.cost == problem.cost(choice.kept) <= choice.limit == problem.limit()
    gone = [step for step in order if not set(choice.kept[step.group]) & set(step.units)]
    for name in problem.steps:
        last = next((step for step in reversed(gone) if step.group == name), None)
        if last is not None:  # its most important step that went
            more = {**choice.kept, name: sorted({*choice.kept[name], *last.units})}
            assert problem.cost(more) > choice.limit
        taken = [step for step in gone if step.group == name]
        assert taken == list(problem.steps[name][: len(taken)])


def test_a_budget_out_of_reach_says_how_far_one_can_go_whatever_the_scores(groups: Groups) -> None:
    problem = problem_of(groups, Budget(units=0.2), least=96)
    with pytest.raises(PlanError, match=r"cannot be met: with everything gone that may go, \S+ \(\d+\.\d%\) are left"):
        check_reach(problem)
    with pytest.raises(PlanError, match=r"the model has head, qk_dim, width too\), a smaller align \(\S+, \S+ can"):
        fit_budget(problem, drawn(problem, 0))
    check_reach(problem_of(groups, Budget(units=0.2)))
