"""Allocations: found by name with nothing else imported, checked when they are made, given only what they need."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError, is_dataclass

import pytest
import torch

from secateur.core.errors import PlanError
from secateur.pipeline.plan.allocation import ALLOCATIONS, Instruments, Problem, find_allocation
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.knapsack import Knapsack
from secateur.pipeline.plan.make import make_plan
from secateur.pipeline.scores.score import Scores
from secateur.pipeline.structure.groups import Groups

HEAVY = "{'optuna', 'sqlalchemy', 'alembic'} & set(sys.modules)"


@pytest.mark.parametrize("name", ALLOCATIONS.own())
def test_each_is_a_frozen_dataclass_of_that_name(name: str) -> None:
    made = find_allocation(name)()
    assert made.name == name
    assert is_dataclass(made)
    with pytest.raises(FrozenInstanceError):
        made.align = 4  # type: ignore[misc]
    for change in ({"align": 0}, {"kinds": ("mlps",)}, {"least": -1}, {"skip": "blocks.*"}):
        with pytest.raises(PlanError, match=f"plan.{next(iter(change))} is"):
            find_allocation(name)(**change)


@pytest.mark.parametrize("name", ALLOCATIONS.own())
def test_what_an_allocation_needs_and_was_not_given_is_said_before_any_work(name: str, vit_groups: Groups) -> None:
    kind = find_allocation(name)
    budget = Budget(bit_ops=0.5) if name == "joint" else Budget(macs=0.5)
    for need in kind.needs:
        others = Instruments(**{other: object() for other in kind.needs if other != need})
        with pytest.raises(PlanError, match=rf"the allocation '{name}' .*: give make_plan Instruments\({need}="):
            make_plan(vit_groups, Scores({}, "x"), budget, name, others)


def test_finding_one_imports_neither_optuna_nor_sqlalchemy_nor_the_others() -> None:
    code = f"""
import sys
from secateur.pipeline.plan.allocation import find_allocation
find_allocation("global")
assert not {HEAVY}, {HEAVY}
assert not {{"torch", "scipy.optimize"}} & set(sys.modules)
assert not {{"secateur.pipeline.plan.knapsack", "secateur.pipeline.plan.evolution"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


def test_options_go_with_a_name_or_in_the_allocation(vit_groups: Groups) -> None:
    scores = Scores({group.name: torch.rand(group.units) for group in vit_groups}, "x")
    one = make_plan(vit_groups, scores, Budget(macs=0.7), "knapsack", align=4, kinds=["mlp_hidden"])
    assert one == make_plan(vit_groups, scores, Budget(macs=0.7), Knapsack(align=4, kinds=("mlp_hidden",)))
    with pytest.raises(
        PlanError, match=r"'knapsack' has no option 'alling'; did you mean 'align'\?; its options: align"
    ):
        make_plan(vit_groups, scores, Budget(macs=0.7), "knapsack", alling=4)
    with pytest.raises(PlanError, match="'global' has no option 'population'"):
        make_plan(vit_groups, scores, Budget(macs=0.7), population=4)
    with pytest.raises(PlanError, match="the options align go with an allocation's name: give them to Knapsack"):
        make_plan(vit_groups, scores, Budget(macs=0.7), Knapsack(), align=4)


def test_a_problem_says_what_is_missing(vit_groups: Groups) -> None:
    problem = Problem(vit_groups, {}, Budget(macs=0.5))
    for name in ("objective", "mask_loss"):
        with pytest.raises(PlanError, match=rf"Instruments\({name}="):
            getattr(problem, name)
    given = Problem(vit_groups, {}, Budget(macs=0.5), Instruments(objective=len))
    assert given.objective({"a": ()}) == 1
