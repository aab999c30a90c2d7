"""Every registered score method on one model: what it leaves alone, its file, and what is refused."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from secateur.core.errors import PlanError
from secateur.pipeline.scores import registry
from secateur.pipeline.scores.registry import METHODS
from secateur.pipeline.scores.score import Scores, score
from secateur.pipeline.scores.taylor import Taylor
from secateur.pipeline.structure.groups import Groups

Batches = list[tuple[Tensor, Tensor]]


@pytest.mark.parametrize("method", METHODS.names())
def test_every_method_scores_every_group_and_leaves_the_model_and_the_images_alone(
    method: str, vit: nn.Module, vit_groups: Groups, batches: Batches
) -> None:
    vit.train()
    vit.get_submodule("head").weight.requires_grad_(False)
    before = copy.deepcopy(vit.state_dict())
    flags = [p.requires_grad for p in vit.parameters()]
    first, second = (score(vit, vit_groups, batches, method, seed=3) for _ in range(2))
    for group in vit_groups:
        assert first.by_unit(group.name).shape == (group.units,)
        assert torch.equal(first.values[group.name], second.values[group.name])
        assert first.by_unit(group.name).std() > 0
    assert vit.training
    assert flags == [p.requires_grad for p in vit.parameters()]
    assert all(torch.equal(value, before[key]) for key, value in vit.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in vit.modules())
    assert not any(images.requires_grad for images, _ in batches)


@pytest.mark.parametrize("method", [m for m in METHODS.names() if m not in ("random", "magnitude")])
def test_the_batch_size_does_not_matter(method: str, vit: nn.Module, vit_groups: Groups, batches: Batches) -> None:
    single = [(x[i : i + 1], y[i : i + 1]) for x, y in batches for i in range(len(x))]
    alone = score(vit, vit_groups, single, method).values
    for name, value in score(vit, vit_groups, batches, method).values.items():
        torch.testing.assert_close(value, alone[name], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("method", METHODS.names())
def test_a_model_of_half_precision_is_scored_as_the_whole_one(
    method: str, vit: nn.Module, vit_groups: Groups, batches: Batches
) -> None:
    options = {"epochs": 2} if method == "xmask" else {}
    half = [(images.bfloat16(), labels) for images, labels in batches]
    whole = score(vit, vit_groups, batches, method, **options)
    found = score(copy.deepcopy(vit).bfloat16(), vit_groups, half, method, **options)
    for name, value in found.values.items():
        assert value.dtype == torch.float32
        ranks = [part.flatten().argsort().argsort().float() for part in (value, whole.values[name])]
        assert torch.corrcoef(torch.stack(ranks))[0, 1] > 0.7, name


def test_a_file_holds_the_scores_and_their_method(vit: nn.Module, vit_groups: Groups, tmp_path) -> None:  # type: ignore[no-untyped-def]  # pytest's own path
    made = score(vit, vit_groups, [], "random", seed=4)
    made.save(tmp_path / "scores.safetensors")
    read = Scores.load(tmp_path / "scores.safetensors")
    assert (read.method, read.seed) == ("random", 4)
    assert all(torch.equal(read.values[name], value) for name, value in made.values.items())


def test_class_wise_scores_are_collapsed_by_the_absolute_sum() -> None:
    assert Scores({"g": torch.tensor([[1.0, -2.0], [-3.0, 0.5]])}, "x").by_unit("g").tolist() == [4.0, 2.5]


def test_bad_names_and_values_are_refused(vit: nn.Module, vit_groups: Groups, batches: Batches) -> None:
    with pytest.raises(PlanError, match="did you mean 'taylor'"):
        score(vit, vit_groups, batches, "tailor")
    with pytest.raises(PlanError, match="taylor has no option 'rule'"):
        score(vit, vit_groups, batches, "taylor", rule="epsilon")
    with pytest.raises(ValueError, match="registered twice"):
        registry.method("taylor")(Taylor)
    broken = [(x * float("nan"), y) for x, y in batches]
    with pytest.raises(PlanError, match="not finite"):
        score(vit, vit_groups, broken, "taylor")
