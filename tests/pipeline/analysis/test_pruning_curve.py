"""A curve's points: removal and masking agree, the rate is met, predictions can be restricted."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from secateur.core.errors import DataError, PlanError, SurgeryError
from secateur.pipeline.analysis import pruning_curve as module
from secateur.pipeline.analysis.accuracy import count_right
from secateur.pipeline.analysis.pruning_curve import Point, Shape, a_pr, curve
from secateur.pipeline.scores.score import score
from secateur.pipeline.structure.groups import Groups

Batches = list[tuple[Tensor, Tensor]]


def test_points_follow_the_rate(vit: nn.Module, vit_groups: Groups, batches: Batches) -> None:
    scores = score(vit, vit_groups, batches, "magnitude")  # type: ignore[arg-type]  # batches are enough
    shape = Shape(("mlp_hidden",), rates=(0.0, 0.5, 0.95))
    dense, half, least = curve(vit, vit_groups, scores, batches, shape)
    assert (dense.macs, dense.params) == (vit_groups.macs(), vit_groups.params())
    plan = shape.plan(vit_groups, scores, 0.5)
    assert sum(len(units) for units in plan.kept.values()) == 192
    assert half.macs == vit_groups.macs(plan.kept)
    assert dense.macs > half.macs > least.macs
    labels = torch.cat([vit(x).argmax(1) for x, _ in batches]).split(4)
    own = [(x, y) for (x, _), y in zip(batches, labels, strict=True)]
    assert next(curve(vit, vit_groups, scores, own, shape)).top1 == 100.0


def test_known_points_are_not_measured_again(vit: nn.Module, vit_groups: Groups, batches: Batches) -> None:
    scores = score(vit, vit_groups, batches, "random")  # type: ignore[arg-type]  # batches are enough
    known = Point(0.25, 1.0, 2, 3.0)
    shape = Shape(("head",), rates=(0.25, 0.5))
    found = list(curve(vit, vit_groups, scores, batches, shape, known={0.25: known}))
    assert found[0] is known
    assert found[1].rate == 0.5


def test_a_removal_that_is_no_masking_is_reported(
    vit: nn.Module, vit_groups: Groups, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = score(vit, vit_groups, batches, "random")  # type: ignore[arg-type]  # batches are enough
    shape = Shape(("mlp_hidden",), rates=(0.5,))
    plan = shape.plan(vit_groups, scores, 0.5)
    masked = module.masked(vit, vit_groups, plan)
    right = [(x, masked(x).argmax(1)) for x, _ in batches]
    list(curve(vit, vit_groups, scores, right, shape))
    wrong = nn.Sequential(masked, nn.Softmin(1))
    monkeypatch.setattr(module, "masked", lambda *args: wrong)
    with pytest.raises(SurgeryError, match="pruning rate of 50%"):
        list(curve(vit, vit_groups, scores, right, shape))


def test_only_the_given_classes_are_predicted(vit: nn.Module, batches: Batches) -> None:
    logits = torch.cat([vit(x) for x, _ in batches])
    labels = torch.cat([y for _, y in batches])
    cut = logits.clone()
    cut[:, [0, 2, 3]] = -torch.inf
    assert count_right(vit, batches, [4, 1]) == (int((cut.argmax(1) == labels).sum()), 12)
    assert count_right(vit, batches) == (int((logits.argmax(1) == labels).sum()), 12)


def test_a_pr_is_the_mean_and_bad_input_is_refused(vit: nn.Module) -> None:
    assert a_pr([Point(0, 1, 1, 80.0), Point(0.5, 1, 1, 40.0)]) == 60.0
    with pytest.raises(PlanError, match="at least one pruning rate"):
        a_pr([])
    with pytest.raises(PlanError, match="below 1"):
        Shape(rates=(0.5, 1.0))
    with pytest.raises(DataError, match="no images"):
        count_right(vit, [])
