"""Learned rates: the budget is reached from any start, the data decide between layers, labels do not count."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secateur.core.errors import PlanError
from secateur.pipeline.analysis.accuracy import accuracy
from secateur.pipeline.plan.allocation import Instruments, MaskLoss, Problem
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.make import make_plan
from secateur.pipeline.plan.mask_loss import mask_loss
from secateur.pipeline.plan.soft_cost import SoftCost
from secateur.pipeline.plan.xpruner import Xpruner, learn_rates, soft_groups
from secateur.pipeline.runs.recipe import make_recipe
from secateur.pipeline.runs.runner import open_run, run_stages
from secateur.pipeline.scores.score import Scores, score
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups, Kind
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.structure.steps import removal_steps
from secateur.pipeline.structure.surgery import prune
from tests.conftest import make_vit
from tests.pipeline.runs.processes import RECIPE

Batches = list[tuple[Tensor, Tensor]]
KINDS: tuple[Kind, ...] = ("mlp_hidden", "qk_dim", "v_dim")


@pytest.fixture(scope="module")
def groups() -> Groups:
    return find_groups(make_vit(), torch.zeros(1, 3, 16, 16))


def problem_of(groups: Groups, budget: Budget, loss: MaskLoss | None, align: int = 4) -> Problem:
    """Random scores, the same for every layer of a kind."""
    scores = {g.name: np.random.default_rng(0).random(g.units) for g in groups if g.kind in KINDS}
    steps = {name: removal_steps(groups.named(name), value, align, align) for name, value in scores.items()}
    return Problem(groups, steps, budget, Instruments(mask_loss=loss))


def weighted(weights: Mapping[str, float]) -> Callable[[Mapping[str, Tensor]], Tensor]:
    """A loss of its own: what is missing of each group, squared, times a weight."""

    def loss(masks: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([weights[name] * (1 - mask).square().mean() for name, mask in masks.items()]).sum()

    return loss


@settings(max_examples=8, deadline=None)
@given(
    st.sampled_from(["macs", "params", "units"]),
    st.floats(0.35, 0.95),
    st.floats(0.1, 0.97),
    st.integers(0, 99),
    st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_the_cost_comes_to_the_budget_from_any_start(
    groups: Groups, measure: str, share: float, start: float, seed: int, scale: float
) -> None:
    draws = np.random.default_rng(seed)
    weights = {group.name: scale * float(draws.lognormal(0, 2)) for group in groups}
    problem = problem_of(groups, Budget(**{measure: share}), weighted(weights))
    learned = learn_rates(Xpruner(start=start), problem)
    shares = {group.name: group.shares(torch.tensor(rate)) for group, rate in learned}
    cost = SoftCost(groups, problem.budget, list(problem.steps))(shares).item()
    assert cost == pytest.approx(problem.limit(), rel=0.02)


def test_the_budget_tightens_and_multipliers_rise_where_the_loss_resists(groups: Groups) -> None:
    said: list[str] = []
    problem = problem_of(groups, Budget(macs=0.4), weighted({group.name: 1.0 for group in groups}))
    problem = replace(problem, instruments=replace(problem.instruments, say=said.append))
    learn_rates(Xpruner(ascent=1.0), problem)
    found = [[float(number) for number in re.findall(r"-?\d+\.\d+", message)] for message in said]
    costs, gammas, betas = zip(*[numbers[1:] for numbers in found], strict=True)
    assert costs[0] > 1.5
    assert costs[25] == pytest.approx((costs[0]) ** 0.5, rel=0.1)  # half of the way, by ratio
    assert max(abs(cost - 1) for cost in costs[60:]) < 0.05
    assert gammas[-1] > 0.1
    assert all(later >= earlier for earlier, later in pairwise(betas))
    assert betas[-1] > betas[0]


@pytest.mark.parametrize("planted", [0, 1])
def test_a_redundant_layer_gives_more(planted: int, vit: nn.Module) -> None:
    with torch.no_grad():
        vit.get_submodule(f"blocks.{planted}.mlp.fc2").weight *= 1e-2
    groups = find_groups(vit, torch.zeros(1, 3, 16, 16))
    x = torch.randn(32, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    loss = mask_loss(vit, groups, [(x, torch.zeros(32, dtype=torch.long))], batch_size=8)
    learned = learn_rates(Xpruner(), problem_of(groups, Budget(macs=0.7), loss))
    rates = {group.name: rate for group, rate in learned}
    assert rates[f"blocks.{planted}.mlp.hidden"] < 0.4
    assert rates[f"blocks.{1 - planted}.mlp.hidden"] > 0.8


def test_what_the_loss_minds_most_stays(groups: Groups) -> None:
    """No layer is preferred by itself: with the weights turned round, so are the rates."""
    both = [f"blocks.{number}.mlp.hidden" for number in (0, 1)]
    for names in (both, both[::-1]):
        weights = {group.name: 1.0 for group in groups} | dict(zip(names, (20.0, 0.05), strict=True))
        problem = problem_of(groups, Budget(units=0.6), weighted(weights))
        rates = {group.name: rate for group, rate in learn_rates(Xpruner(), problem)}
        assert rates[names[0]] > rates[names[1]] + 0.3


def test_the_plan_is_within_the_budget_aligned_and_follows_the_rates(groups: Groups) -> None:
    weights = {group.name: 20.0 if "blocks.0" in group.name else 0.05 for group in groups}
    scores = Scores({g.name: torch.rand(g.units) for g in groups}, "x")
    for budget in (Budget(macs=0.6), Budget(params=0.6)):
        plan = make_plan(groups, scores, budget, "xpruner", Instruments(mask_loss=weighted(weights)))
        share = (groups.macs(plan.kept) / groups.macs(), groups.params(plan.kept) / groups.params())
        assert 0.98 * 0.6 <= share[budget.measure == "params"] <= 0.6
        kept = {group.name: len(plan.kept.get(group.name, range(group.units))) for group in groups}
        assert kept["blocks.0.mlp.hidden"] > kept["blocks.1.mlp.hidden"]
        assert all(kept[f"blocks.{number}.mlp.hidden"] % 8 == 0 for number in (0, 1))
        best = scores.by_unit("blocks.1.mlp.hidden").argsort(descending=True)[: kept["blocks.1.mlp.hidden"]]
        assert set(plan.kept["blocks.1.mlp.hidden"]) == set(best.tolist())


def test_permuted_labels_change_neither_the_plan_nor_what_the_model_answers(
    vit: nn.Module, vit_groups: Groups, batches: Batches
) -> None:
    permuted = [(images, labels[torch.randperm(len(labels))]) for images, labels in batches]
    scores = Scores(
        {g.name: torch.rand(5, g.units, generator=torch.Generator().manual_seed(0)) for g in vit_groups}, "x"
    )

    def made(data: Batches) -> Plan:
        loss = mask_loss(vit, vit_groups, data, batch_size=4)
        return make_plan(vit_groups, scores, Budget(macs=0.7), Xpruner(steps=10), Instruments(mask_loss=loss))

    plan = made(batches)
    assert plan == made(permuted)
    small = prune(vit, plan, vit_groups)
    answers: list[Tensor] = []
    handle = small.register_forward_hook(lambda _m, _args, logits: answers.append(logits.argmax(1)))
    found = [accuracy(small, data) for data in (batches, permuted)]
    handle.remove()
    assert torch.equal(torch.cat(answers[:3]), torch.cat(answers[3:]))  # judged by its labels, the same answers
    right = [torch.cat([labels for _, labels in data]) == torch.cat(answers[:3]) for data in (batches, permuted)]
    assert found == [pytest.approx(100 * part.float().mean().item()) for part in right]


def test_masks_shares_and_widths_of_a_group(groups: Groups) -> None:
    (group,) = [
        found
        for found in soft_groups(problem_of(groups, Budget(macs=0.5), None, align=48))
        if found.name == "blocks.0.mlp.hidden"
    ]
    assert group.ends == (0.25, 0.5, 0.75)  # 48 of 192 stay in any case
    assert group.most == 0.75
    assert [group.width(rate) for rate in (1.0, 0.9, 0.8, 0.51, 0.3, 0.2)] == [0, 0, 1, 2, 3, 3]
    assert group.shares(torch.tensor(0.6)).sum().item() == pytest.approx(0.6 * 192, rel=1e-5)
    assert group.shares(torch.tensor(0.6)).unique().tolist() == pytest.approx([0, 0.4, 1], abs=1e-5)
    mask = group.mask(torch.tensor(0.625), 10.0)  # the threshold in the middle of the second step
    by_step = sorted({round(value, 4) for value in mask.tolist()})
    assert by_step == [round(float((1 + np.tanh(10 * gap)) / 2), 4) for gap in (-0.25, 0, 0.25, 5)]


@pytest.mark.nightly
def test_masks_and_rates_prune_a_swin() -> None:
    """Shifted windows, bias tables and patch merging: surgery proves removed equal to masked, or raises."""
    torch.manual_seed(0)
    settings = {"img_size": 16, "patch_size": 2, "window_size": 4, "embed_dim": 16, "depths": (2, 2)}
    swin = timm.create_model("swin_tiny_patch4_window7_224", num_classes=5, num_heads=(2, 4), **settings).eval()
    groups = find_groups(swin, torch.zeros(1, 3, 16, 16))
    data = [(torch.randn(10, 3, 16, 16), torch.arange(10) % 5)]
    scores = score(swin, groups, data, "xmask", epochs=1)
    loss = mask_loss(swin, groups, data, "cross_entropy", batch_size=5)
    xpruner = Xpruner(steps=8, align=2, kinds=KINDS)
    plan = make_plan(groups, scores, Budget(macs=0.6), xpruner, Instruments(mask_loss=loss))
    small = prune(swin, plan, groups)
    assert 0.55 * groups.macs() < groups.macs(plan.kept) <= 0.6 * groups.macs()
    assert sum(part.numel() for part in small.parameters()) == groups.params(plan.kept)
    assert small(data[0][0]).shape == (10, 5)


def test_a_recipe_plans_by_it(tmp_path: Path) -> None:
    plan = {"allocate": "xpruner", "align": 4, "xpruner": {"steps": 6, "images": 20, "batch_size": 10}}
    run = open_run(tmp_path / "run", make_recipe({**RECIPE, "plan": plan}, "here"))
    said: list[str] = []
    run_stages(run, "plan", lambda stage, message: said.append(message))
    assert any(message.startswith("rates: step 6 of 6") for message in said)
    assert run.groups.macs(run.plan.kept) <= 0.7 * run.groups.macs()
    assert run.plan.facts is not None and run.plan.facts.allocate == "xpruner"


def test_what_it_needs_is_said(groups: Groups) -> None:
    scores = Scores({g.name: torch.rand(g.units) for g in groups}, "x")
    with pytest.raises(PlanError, match="give make_plan Instruments"):
        make_plan(groups, scores, Budget(macs=0.6), "xpruner")
    for change, words in [
        ({"steps": 0}, "xpruner.steps is 0, but must be 1 or more"),
        ({"start": 1.0}, "start is 1.0, but must be between"),
        ({"lr": 0.5}, "lr is 0.5, but must be from 1e-06 to 0.1"),
        ({"sharp": 0.0}, "sharp is 0.0, but must be more than 0"),
        ({"loss": "kl"}, "one of divergence, cross_entropy"),
    ]:
        with pytest.raises(PlanError, match=words):
            Xpruner(**change)
