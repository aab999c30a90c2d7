"""Ranking: against a slow reference, within families together or group by group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.pipeline.plan.allocation import Order, Problem
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.global_ranking import GlobalRanking, Uniform
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.steps import removal_steps
from tests.conftest import make_vit


@pytest.fixture(scope="module")
def groups() -> Groups:
    return find_groups(make_vit(), torch.zeros(1, 3, 16, 16))


def problem_of(groups: Groups, seed: int, align: int) -> Problem:
    draws = np.random.default_rng(seed)
    steps = {g.name: removal_steps(g, draws.normal(size=g.units), align, 4) for g in groups if g.kind != "head"}
    return Problem(groups, steps, Budget(units=0.5))


def reference(problem: Problem, families: Sequence[Sequence[str]]) -> list[tuple[float, int]]:
    """For each place in the order, the share of its family that is gone after it and the family's number."""
    found = []
    for number, names in enumerate(families):
        left = {name: list(problem.steps[name]) for name in names}
        total, gone, floor = sum(problem.groups.named(name).units for name in names), 0, dict.fromkeys(names, -np.inf)
        while any(left.values()):
            worth = {name: max(floor[name], steps[0].score) for name, steps in left.items() if steps}
            name = min(worth, key=lambda name: (worth[name], names.index(name)))
            floor[name] = worth[name]
            gone += len(left[name].pop(0).units)
            found.append((gone / total, number))
    return sorted(found)


def shares(problem: Problem, families: Sequence[Sequence[str]], order: Order) -> list[tuple[float, int]]:
    gone = dict.fromkeys(range(len(families)), 0)
    found = []
    for step in order:
        number = next(n for n, names in enumerate(families) if step.group in names)
        gone[number] += len(step.units)
        found.append((gone[number] / sum(problem.groups.named(name).units for name in families[number]), number))
    return found


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.sampled_from([1, 4, 8]))
def test_families_give_equal_shares_and_the_least_important_of_all_their_groups(
    groups: Groups, seed: int, align: int
) -> None:
    problem = problem_of(groups, seed, align)
    by_family: dict[str, list[str]] = {}
    for name in problem.steps:
        by_family.setdefault(groups.named(name).family, []).append(name)
    families = {"global": list(by_family.values()), "uniform": [[name] for name in problem.steps]}
    assert len(families["global"]) < len(families["uniform"])
    for allocation in (GlobalRanking(), Uniform()):
        order, parts = allocation.order(problem), families[allocation.name]
        assert shares(problem, parts, order) == reference(problem, parts)
        for name, steps in problem.steps.items():
            assert [step for step in order if step.group == name] == list(steps)
        for names in parts:  # of a family, what goes first is what is worth least
            rising = {name: np.maximum.accumulate([step.score for step in problem.steps[name]]) for name in names}
            taken = dict.fromkeys(names, 0)
            worths = []
            for step in order:
                if step.group in names:
                    worths.append(rising[step.group][taken[step.group]])
                    taken[step.group] += 1
            assert worths == sorted(worths)
