"""Sensitivity: measured curves decide, whatever the scores say of layers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from secateur.core.errors import DataError, PlanError
from secateur.pipeline.plan.allocation import Instruments
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.make import make_plan
from secateur.pipeline.plan.objective import divergence
from secateur.pipeline.plan.sensitivity import Sensitivity, slopes
from secateur.pipeline.scores.score import Scores, score
from secateur.pipeline.structure.groups import Groups, Kept

Batches = list[tuple[Tensor, Tensor]]
MLP = Sensitivity(kinds=("mlp_hidden",))


def test_the_layer_that_hurts_keeps_its_units(vit_groups: Groups) -> None:
    asked: list[str] = []

    def objective(kept: Kept) -> float:
        asked.extend(kept)
        return sum((10.0 if "blocks.0" in name else 1.0) * (192 - len(units)) for name, units in kept.items())

    values = {group.name: torch.rand(group.units) for group in vit_groups}
    values["blocks.1.mlp.hidden"] += 100
    instruments = Instruments(objective=objective)
    plan = make_plan(vit_groups, Scores(values, "x"), Budget(units=0.6), MLP, instruments)
    assert "blocks.0.mlp.hidden" not in plan.kept
    best = values["blocks.1.mlp.hidden"].argsort(descending=True)[: len(plan.kept["blocks.1.mlp.hidden"])]
    assert set(plan.kept["blocks.1.mlp.hidden"]) == set(best.tolist())
    assert len(asked) == 8


def test_layers_of_equal_curves_share_what_goes_between_the_measured_widths(vit_groups: Groups) -> None:
    def objective(kept: Kept) -> float:
        return sum((1 - len(units) / 192) ** 3 for units in kept.values())

    values = {group.name: torch.rand(group.units, generator=torch.Generator().manual_seed(0)) for group in vit_groups}
    instruments = Instruments(objective=objective)
    plan = make_plan(vit_groups, Scores(values, "x"), Budget(units=0.65), MLP, instruments)
    widths = [len(plan.kept[f"blocks.{number}.mlp.hidden"]) for number in range(2)]
    assert abs(widths[0] - widths[1]) <= 16


def test_slopes_are_those_of_the_lower_hull() -> None:
    assert slopes([0, 1, 2, 3], [0.0, 3.0, 4.0, 9.0], [0.0, 1.0, 2.0, 3.0]) == [(2.0, 0, 2), (5.0, 2, 3)]
    assert slopes([0, 2], [0.0, 1.0], [0.0, 4.0]) == [(0.25, 0, 2)]


def test_divergence_is_zero_for_the_dense_model_and_kullback_leibler_else(
    vit: nn.Module, vit_groups: Groups, batches: Batches
) -> None:
    objective = divergence(vit, vit_groups, batches)
    assert objective({}) == pytest.approx(0, abs=1e-6)
    kept = {"blocks.0.mlp.hidden": list(range(100))}
    handle = vit.get_submodule("blocks.0.mlp.fc2").register_forward_pre_hook(
        lambda _m, args: (torch.cat([args[0][..., :100], 0 * args[0][..., 100:]], -1),)
    )
    with torch.no_grad():
        masked = torch.cat([vit(x) for x, _ in batches]).softmax(1)
        handle.remove()
        dense = torch.cat([vit(x) for x, _ in batches]).softmax(1)
    expected = (dense * (dense / masked).log()).sum(1).mean().item()
    assert objective(kept) == pytest.approx(expected, rel=1e-3)


def test_it_needs_an_objective_and_an_objective_needs_images(vit: nn.Module, vit_groups: Groups) -> None:
    scores = score(vit, vit_groups, [], "random")
    with pytest.raises(PlanError, match="give make_plan Instruments"):
        make_plan(vit_groups, scores, Budget(macs=0.8), "sensitivity")
    with pytest.raises(DataError, match="no images to measure"):
        divergence(vit, vit_groups, [])
