"""Every registered score method, and each against a slow reference written from its definition."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.core.errors import PlanError
from secateur.pipeline.scores import registry
from secateur.pipeline.scores.registry import METHODS
from secateur.pipeline.scores.score import Scores, score
from secateur.pipeline.scores.taylor import Taylor
from secateur.pipeline.structure.groups import Groups, Site

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


def test_random_scores_depend_on_the_seed_only(vit: nn.Module, vit_groups: Groups) -> None:
    name = vit_groups[0].name
    one, other = score(vit, vit_groups, [], "random", seed=0), score(vit, vit_groups, [], "random", seed=1)
    assert not torch.equal(one.values[name], other.values[name])


def test_magnitude_is_the_norm_of_all_slices(vit: nn.Module, vit_groups: Groups) -> None:
    found = score(vit, vit_groups, [], "magnitude").values
    mlp = vit.get_submodule("blocks.1.mlp")
    for unit in (0, 7, 191):
        parts = [mlp.fc1.weight[unit], mlp.fc1.bias[unit][None], mlp.fc2.weight[:, unit]]
        assert found["blocks.1.mlp.hidden"][unit].item() == pytest.approx(torch.cat(parts).norm().item(), rel=1e-5)
    attn = vit.get_submodule("blocks.0.attn")
    rows = torch.cat([torch.arange(16, 32) + 48 * part for part in range(3)])
    parts = [attn.qkv.weight[rows].flatten(), attn.qkv.bias[rows], attn.proj.weight[:, 16:32].flatten()]
    assert found["blocks.0.attn.heads"][1].item() == pytest.approx(torch.cat(parts).norm().item(), rel=1e-5)


def test_taylor_is_the_first_order_change_of_the_loss(vit: nn.Module, vit_groups: Groups, batches: Batches) -> None:
    """dL/dm at m = 1 of a mask on the unit, sample by sample, by autograd on the mask itself."""
    found = score(vit, vit_groups, batches, "taylor").values
    for name in ("blocks.0.mlp.hidden", "blocks.1.attn.heads", "blocks.1.attn.v"):
        group = vit_groups.named(name)
        (site,) = group.sites
        index, totals = torch.tensor(site.units), torch.zeros(group.units)
        for x, y in batches:
            for image, label in zip(x, y, strict=True):
                mask = torch.ones(group.units, requires_grad=True)
                handle = vit.get_submodule(site.module).register_forward_pre_hook(
                    lambda _m, args, mask=mask, index=index: (args[0] * mask[index],)
                )
                loss = F.cross_entropy(vit(image[None]), label[None])
                totals += torch.autograd.grad(loss, mask)[0].abs()
                handle.remove()
        torch.testing.assert_close(found[name], totals / 12, rtol=1e-3, atol=1e-6)


def test_activation_is_the_variance_that_reaches_the_reader(
    vit: nn.Module, vit_groups: Groups, batches: Batches
) -> None:
    found = score(vit, vit_groups, batches, "activation").values
    seen: list[Tensor] = []
    fc2 = vit.get_submodule("blocks.0.mlp.fc2")
    handle = fc2.register_forward_pre_hook(lambda _m, args: seen.append(args[0].detach()))
    with torch.no_grad():
        for x, _ in batches:
            vit(x)
    handle.remove()
    values = torch.cat(seen).flatten(0, 1)
    expected = values.var(0, unbiased=False) * fc2.weight.detach().square().sum(0)
    torch.testing.assert_close(found["blocks.0.mlp.hidden"], expected, rtol=1e-4, atol=1e-8)


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


def test_positions_of_no_unit_are_left_out() -> None:
    from secateur.pipeline.statistics.capture import sum_by_unit

    site = Site("m", "input", -1, (0, -1, 1, 0))
    assert sum_by_unit(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), site, 2).tolist() == [[5.0, 3.0]]
