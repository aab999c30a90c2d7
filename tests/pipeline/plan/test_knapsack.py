"""The knapsack on real budgets: what it trades, and what decides."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.make import make_plan
from secateur.pipeline.scores.score import Scores
from secateur.pipeline.structure.groups import Groups


def test_what_saves_little_for_its_score_stays(vit_groups: Groups) -> None:
    """An MLP unit saves 2 x 48 MACs a token, a query/key dimension as many and the logits: at equal scores it goes."""
    scores = Scores({group.name: torch.ones(group.units) for group in vit_groups}, "x")
    kinds = ("mlp_hidden", "qk_dim")
    plan = make_plan(vit_groups, scores, Budget(macs=0.9), allocation="knapsack", kinds=kinds, align=1)
    gone = dict.fromkeys(kinds, 0)
    for name, units in plan.kept.items():
        gone[vit_groups.named(name).kind] += vit_groups.named(name).units - len(units)
    assert gone["qk_dim"] > 30
    assert gone["mlp_hidden"] < 6


@settings(max_examples=4, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 2), st.booleans())
def test_nothing_but_the_problem_decides(vit_groups: Groups, random: Random, threads: int, equal: bool) -> None:
    """The plan is the same whatever the order of the groups is, how many threads there are, and with equal scores."""
    rising = {group.name: torch.ones(group.units) if equal else torch.arange(group.units) / 7 for group in vit_groups}
    order = list(vit_groups)
    random.shuffle(order)
    torch.set_num_threads(threads)
    try:
        plans = [
            make_plan(groups, Scores(rising, "x"), Budget(macs=0.6), "knapsack")
            for groups in (vit_groups, replace(vit_groups, groups=tuple(order)))
        ]
    finally:
        torch.set_num_threads(1)
    assert plans[0].kept == plans[1].kept
