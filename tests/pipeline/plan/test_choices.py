"""Choices of layers beside those inside them: by a search through all of them, from the definition."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from secateur.core.errors import PlanError
from secateur.pipeline.plan import choices as choices_module
from secateur.pipeline.plan.allocation import Problem
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.choices import classes_of
from secateur.pipeline.plan.knapsack import Knapsack
from secateur.pipeline.plan.make import make_plan, prunable, steps_of
from secateur.pipeline.plan.rounds import plan_in_rounds
from secateur.pipeline.scores.score import Scores
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.layers import with_layers
from tests.conftest import make_vit

INNER = ("head", "qk_dim", "v_dim", "mlp_hidden")
LAYERS = ("attention", "mlp", "block")


@pytest.fixture(scope="module")
def one_block() -> Groups:
    return with_layers(find_groups(make_vit(depth=1), torch.zeros(1, 3, 16, 16), verify=False))


def scores_of(groups: Groups, seed: int, whole: float = 1.0) -> Scores:
    """Random scores; a layer costs `whole` times what is inside it, more or less."""
    draws = np.random.default_rng(seed)
    values = {group.name: torch.tensor(draws.random(group.units)) for group in groups if not group.holds}
    for layer in (group for group in groups if group.holds):
        inside = sum(float(values[name].sum()) for name in layer.holds)
        cheaper = 0.2 if layer.kind == "block" and seed % 2 else 1.0  # than its parts
        values[layer.name] = torch.tensor([whole * cheaper * inside * draws.uniform(0.3, 1.2)])
    return Scores(values, "random")


def problem_of(groups: Groups, scores: Scores, share: float, kinds: tuple[str, ...]) -> Problem:
    allocation = Knapsack(kinds=kinds, align=8)
    steps = {group.name: steps_of(group, scores, allocation) for group in prunable(groups, allocation)}
    return Problem(groups, steps, Budget(macs=share))


def best_of(losses: Sequence[float], savings: Sequence[float]) -> NDArray[np.float64]:
    """The losses and savings of which no other has a lower loss and saves as much, by rising losses."""
    pairs = sorted(zip(np.round(losses, 6), -np.round(savings, 6), strict=True))
    best: list[tuple[float, float]] = []
    for loss, saving in pairs:
        if not best or saving < best[-1][1]:
            best.append((loss, saving))
    return np.array(best)


def every_choice(problem: Problem) -> tuple[list[float], list[float]]:
    """The losses and the savings of all choices, none of which takes what is inside a layer that goes."""
    names, losses, savings = list(problem.steps), [], []
    for counts in product(*(range(len(problem.steps[name]) + 1) for name in names)):
        chosen = dict(zip(names, counts, strict=True))
        whole = [problem.groups.named(name) for name in names if chosen[name] and problem.groups.named(name).holds]
        inside = {name for layer in whole for name in (*layer.holds, *_layers_in(problem, layer.holds, layer.name))}
        if any(chosen.get(name) for name in inside):
            continue
        losses.append(
            sum(step.score * len(step.units) for name in names for step in problem.steps[name][: chosen[name]])
        )
        kept = {key: units for name in names for key, units in problem.without(name, chosen[name]).items()}
        savings.append(problem.cost({}) - problem.cost(kept))
    return losses, savings


def _layers_in(problem: Problem, holds: tuple[str, ...], but: str) -> list[str]:
    return [one.name for one in problem.groups if one.holds and set(one.holds) <= set(holds) and one.name != but]


@pytest.mark.parametrize("kinds", [("mlp_hidden", "mlp"), ("head", "qk_dim", "attention"), (*INNER, *LAYERS), LAYERS])
@pytest.mark.parametrize("seed", range(2))
def test_a_class_has_the_best_of_all_choices(kinds: tuple[str, ...], seed: int, one_block: Groups) -> None:
    problem = problem_of(one_block, scores_of(one_block, seed), 0.5, kinds)
    classes = classes_of(problem)
    assert len(classes) == 1
    (one,) = classes
    for choice, (loss, saving) in enumerate(zip(one.losses, one.savings, strict=True)):  # each is what it says
        kept = {key: units for name, n in one.counts(choice).items() for key, units in problem.without(name, n).items()}
        assert problem.cost({}) - problem.cost(kept) == pytest.approx(saving)
        lost = (step for name, n in one.counts(choice).items() for step in problem.steps[name][:n])
        assert sum(step.score * len(step.units) for step in lost) == pytest.approx(loss)
    assert best_of(one.losses, one.savings) == pytest.approx(best_of(*every_choice(problem)))


def test_a_cheap_layer_goes_whole_and_a_dear_one_unit_by_unit(one_block: Groups) -> None:
    kinds, budget = ("mlp_hidden", "mlp"), Budget(macs=0.5)
    cheap, dear = (scores_of(one_block, 0, whole) for whole in (0.01, 100.0))
    assert make_plan(one_block, cheap, budget, "knapsack", kinds=kinds).kept["blocks.0.mlp.hidden"] == ()
    found = make_plan(one_block, dear, budget, "knapsack", kinds=kinds)
    assert found == make_plan(one_block, dear, budget, "knapsack", kinds=("mlp_hidden",))
    assert found.kept["blocks.0.mlp.hidden"]


def test_many_choices_are_thinned_out(one_block: Groups, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices_module, "MOST_CHOICES", 30)
    problem = problem_of(one_block, scores_of(one_block, 0), 0.5, (*INNER, *LAYERS))
    (one,) = classes_of(problem)
    assert len(one.losses) <= 32
    assert one.savings.max() == problem.cost({}) - problem.cost({"blocks.0": ()})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"allocation": "global"}, r"has mlp, but the allocation 'global' does not weigh whole layers .* knapsack"),
        ({"allocation": "uniform"}, "allocation 'uniform' does not weigh"),
        ({"skip": ["blocks.0.mlp.hidden"]}, "no group may be pruned"),
    ],
)
def test_layers_that_cannot_be_weighed_are_refused(options: dict[str, object], words: str, one_block: Groups) -> None:
    with pytest.raises(PlanError, match=words):
        make_plan(
            one_block, scores_of(one_block, 0), Budget(macs=0.8), kinds=("mlp",), **{"allocation": "knapsack"} | options
        )


def test_layers_need_groups_that_have_them_and_a_budget_that_counts_them(one_block: Groups) -> None:
    without = find_groups(make_vit(depth=1), torch.zeros(1, 3, 16, 16), verify=False)
    scores = scores_of(one_block, 0)
    with pytest.raises(PlanError, match="kinds has mlp, of which these groups have none that may go whole"):
        make_plan(without, scores, Budget(macs=0.8), "knapsack", kinds=("mlp_hidden", "mlp"))
    with pytest.raises(PlanError, match="a table of latencies does not say what whole layers take"):
        make_plan(one_block, scores, Budget(latency=0.5, target="torch:cpu"), "knapsack", kinds=("mlp",))


def test_layers_go_in_rounds_too_and_stay_gone(vit: nn.Module, vit_groups: Groups) -> None:
    groups = with_layers(vit_groups)
    asked: list[list[str]] = []

    def rescore(_model: nn.Module, some: Groups) -> Scores:
        asked.append([group.name for group in some])
        return Scores({group.name: torch.ones(group.units) for group in some}, "random")

    first = scores_of(groups, 0, 10.0)
    first.values["blocks.1.mlp"][:] = 0.0  # goes first
    plan = plan_in_rounds(
        vit, groups, first, Budget(macs=0.5), rescore, rounds=2, allocation="knapsack", kinds=(*INNER, *LAYERS)
    )
    assert plan.kept["blocks.1.mlp.hidden"] == ()
    assert "blocks.1.mlp" not in asked[0] and "blocks.1.mlp.hidden" not in asked[0]
    assert "blocks.1.attn" in asked[0] and "blocks.1" in asked[0]
    assert groups.macs(plan.kept) <= 0.5 * groups.macs()
