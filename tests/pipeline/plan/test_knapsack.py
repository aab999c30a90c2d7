"""The knapsack: against all choices tried in turn, and on real budgets."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import milp

from secateur.core.errors import PlanError
from secateur.pipeline.plan import knapsack
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.knapsack import solve
from secateur.pipeline.plan.make import make_plan
from secateur.pipeline.scores.score import Scores
from secateur.pipeline.structure.groups import Groups


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.floats(0, 1), st.integers(0, 999))
def test_no_other_choice_is_better(sizes: list[int], share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    losses = [np.concatenate([[0], np.cumsum(rng.random(size))]) for size in sizes]
    savings = [np.concatenate([[0], np.cumsum(rng.random(size))]) for size in sizes]
    asked = share * sum(float(part[-1]) for part in savings)
    counts = solve(losses, savings, asked)

    def total(parts: list[np.ndarray], choice: tuple[int, ...]) -> float:
        return sum(float(part[count]) for part, count in zip(parts, choice, strict=True))

    every = product(*(range(size + 1) for size in sizes))
    best = min(total(losses, choice) for choice in every if total(savings, choice) >= asked)
    assert total(savings, tuple(counts)) >= asked - 1e-6
    assert total(losses, tuple(counts)) <= best * 1.001 + 1e-9


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


def test_nothing_but_the_problem_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """No limit is one of time, so that a slow machine makes the plan of a fast one."""
    seen: list[dict[str, float]] = []

    def watched(*args: Any, options: dict[str, float], **kwargs: Any) -> Any:
        seen.append(dict(options))
        return milp(*args, options=options, **kwargs)

    monkeypatch.setattr(knapsack, "milp", watched)
    rng = np.random.default_rng(0)
    losses, savings = ([np.concatenate([[0], np.cumsum(rng.random(40))]) for _ in range(20)] for _ in range(2))
    assert len({tuple(solve(losses, savings, 200.0)) for _ in range(2)}) == 1
    assert all("time_limit" not in options and options["node_limit"] > 0 for options in seen)


def test_the_budget_cannot_be_dodged() -> None:
    with pytest.raises(PlanError, match="no solution"):
        solve([np.array([0.0, 1.0])], [np.array([0.0, 1.0])], 2.0)
