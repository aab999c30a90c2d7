"""The obs score of whole models: which losses it predicts, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.core.errors import PlanError
from secateur.pipeline.recover.compensate import compensate
from secateur.pipeline.scores.score import score
from secateur.pipeline.scores.token_weights import TOKEN_WEIGHTS
from secateur.pipeline.statistics.capture import observed
from secateur.pipeline.statistics.layer_losses import layer_losses
from secateur.pipeline.statistics.removal_costs import removal_costs
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups, Site
from secateur.pipeline.structure.layers import with_layers
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import prune
from secateur.pipeline.tasks.classify import Classify

Batches = list[tuple[Tensor, Tensor]]


@pytest.fixture(scope="module")
def many() -> Batches:
    generator = torch.Generator().manual_seed(5)
    return [(torch.randn(16, 3, 16, 16, generator=generator), torch.zeros(16, dtype=torch.long)) for _ in range(4)]


def test_a_duplicate_goes_first_and_an_unread_unit_costs_nothing(
    vit: nn.Module, vit_groups: Groups, many: Batches
) -> None:
    mlp = vit.get_submodule("blocks.0.mlp")
    with torch.no_grad():
        mlp.fc1.weight[7], mlp.fc1.bias[7] = mlp.fc1.weight[3], mlp.fc1.bias[3]
        mlp.fc2.weight[:, 11] = 0
    found = score(vit, vit_groups, many, "obs", rounds=192, shrinkage=1e-5).values["blocks.0.mlp.hidden"]
    first = found.argsort()[:2].tolist()
    assert 11 in first
    assert {3, 7} & set(first)


def test_units_chosen_by_it_leave_less_error_after_compensation(
    vit: nn.Module, vit_groups: Groups, many: Batches
) -> None:
    """Against the units that a random choice keeps, in the divergence of the model's predictions."""

    def divergence(kept: dict[str, list[int]]) -> float:
        plan = plan_from_kept(vit_groups, kept)
        small = compensate(prune(vit, plan, vit_groups), vit, plan, many, groups=vit_groups)
        with torch.no_grad():
            gaps = [
                F.kl_div(small(x).log_softmax(1), vit(x).log_softmax(1), log_target=True, reduction="sum")
                for x, _ in many
            ]
        return float(sum(gaps))

    found = score(vit, vit_groups, many, "obs").values
    for kind, keep in (("mlp.hidden", 96), ("attn.heads", 2)):
        names = [f"blocks.{number}.{kind}" for number in (0, 1)]
        best = divergence({name: found[name].argsort(descending=True)[:keep].tolist() for name in names})
        worst = divergence({name: found[name].argsort()[:keep].tolist() for name in names})
        assert best < 0.9 * worst


def test_a_layer_whose_output_the_loss_ignores_scores_low(vit: nn.Module, vit_groups: Groups, many: Batches) -> None:
    with torch.no_grad():
        block = vit.get_submodule("blocks.1.mlp.fc2")
        block.weight *= 1e-3
    found = {
        metric: score(vit, vit_groups, many, "obs", metric=metric).values for metric in ("fisher", "trace", "none")
    }
    for metric in ("fisher", "trace"):
        assert found[metric]["blocks.1.mlp.hidden"].sum() < 1e-3 * found[metric]["blocks.0.mlp.hidden"].sum()
    assert not torch.equal(found["fisher"]["blocks.0.mlp.hidden"], found["trace"]["blocks.0.mlp.hidden"])


@pytest.mark.parametrize("weights", [name for name in TOKEN_WEIGHTS.names() if name != "none"])
def test_token_weights_change_the_scores(weights: str, vit: nn.Module, vit_groups: Groups, batches: Batches) -> None:
    plain, weighted = (score(vit, vit_groups, batches, "obs", weights=w).values for w in ("none", weights))
    assert not torch.allclose(plain["blocks.0.mlp.hidden"], weighted["blocks.0.mlp.hidden"], rtol=1e-2)


def test_channels_of_convolutions_are_scored() -> None:
    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=4, channels=(16, 16, 16, 16)).eval()
    batches = [(torch.randn(4, 3, 32, 32), torch.zeros(4, dtype=torch.long))]
    groups = find_groups(model, batches[0][0][:1])
    with torch.no_grad():
        model.get_submodule("layer1.0.conv2").weight[:, 5] = 0
    found = score(model, groups, batches, "obs", rounds=64).values
    assert found["layer1.0.conv1.channels"].argmin().item() == 5
    assert all(torch.isfinite(value).all() for value in found.values())


@pytest.mark.parametrize(("name", "dims"), [("blocks.0.attn.heads", 16), ("patch_embed.proj.width", 1)])
def test_a_unit_costs_what_all_its_readers_cannot_rebuild(
    name: str, dims: int, vit: nn.Module, vit_groups: Groups, many: Batches
) -> None:
    """Whole heads and channels of the residual stream: each layer that reads them refitted by least squares."""
    group = vit_groups.named(name)
    stream = (*(f"blocks.{number}.{part}" for number in (0, 1) for part in ("attn.qkv", "mlp.fc1")), "head")
    readers = ("blocks.0.attn.proj",) if group.kind == "head" else stream
    shrinkage, alone = 1e-3, replace(vit_groups, groups=(group,))
    found = score(vit, alone, many, "obs", rounds=1, shrinkage=shrinkage, metric="none").values[name].double()
    with torch.no_grad(), observed(vit, [Site(reader, "input", -1, ()) for reader in readers]) as values:
        vit(torch.cat([x for x, _ in many]))
    expected = torch.zeros(group.units, dtype=torch.float64)
    for reader in readers:
        x = values[reader, "input"].flatten(0, -2).double()
        x = x - x.mean(0)
        ridge = shrinkage * x.square().mean() * len(x)
        rows = torch.cat([x, ridge.sqrt() * torch.eye(x.shape[1])])  # the ridge as rows of its own
        y = rows @ vit.get_submodule(reader).weight.double().T
        for unit in range(group.units):
            left = [column for column in range(x.shape[1]) if column // dims != unit]
            rest = y - rows[:, left] @ torch.linalg.lstsq(rows[:, left], y).solution
            expected[unit] += rest.square().sum() / len(x)
    torch.testing.assert_close(found / found.sum(), expected / expected.sum(), rtol=1e-3, atol=1e-6)


def test_units_that_no_matrix_reads_cost_what_fixing_them_does() -> None:
    """Convolutions over sequences: there is nothing to refit, but a score all the same, also for the default."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(2, 8, 3), nn.Tanh(), nn.Conv1d(8, 6, 2), nn.Flatten(), nn.Linear(24, 3)).eval()
    with torch.no_grad():
        model[2].weight[:, 5] = 0
    batches = [(torch.randn(16, 2, 7), torch.zeros(16, dtype=torch.long))]
    groups = find_groups(model, batches[0][0][:1])
    found = score(model, groups, batches)
    assert found.method == "obs"
    first = groups.named("0.channels")
    costs = removal_costs(model, [first], batches, 0, Classify())[first.name]
    torch.testing.assert_close(found.values[first.name], costs.float())
    assert found.values[first.name].argmin().item() == 5
    assert found.values["2.channels"].min() > 0
    with pytest.raises(PlanError, match=r"does not see the units of '0.channels': leave the group out"):
        score(model, replace(groups, groups=(replace(first, sites=()),)), batches, "obs")


def test_bad_options_are_refused(vit: nn.Module, vit_groups: Groups, batches: Batches) -> None:
    for options, words in [
        ({"metric": "fischer"}, "did you mean 'fisher'"),
        ({"shrinkage": -1.0}, "shrinkage is -1"),
        ({"weights": "tokens"}, "no token weighting 'tokens'"),
        ({"rounds": 0}, "rounds is 0"),
    ]:
        with pytest.raises(PlanError, match=words):
            score(vit, vit_groups, batches, "obs", **options)


def test_whole_layers_cost_what_is_measured_and_change_nothing_else(
    vit: nn.Module, vit_groups: Groups, many: Batches
) -> None:
    layers = with_layers(vit_groups)
    some = replace(layers, groups=tuple(group for group in layers if group.holds or group.kind == "mlp_hidden"))
    found = score(vit, some, many, "obs", rounds=4).values
    whole = [group for group in some if group.holds]
    measured = layer_losses(vit, whole, many, Classify())
    assert {group.name: found[group.name].item() for group in whole} == pytest.approx(
        {name: loss.item() for name, loss in measured.items()}
    )
    inside = replace(some, groups=tuple(group for group in some if not group.holds))
    for name, values in score(vit, inside, many, "obs", rounds=4).values.items():
        assert torch.equal(found[name], values)


@pytest.mark.parametrize("method", ["random", "magnitude", "activation", "taylor"])
def test_every_method_scores_whole_layers(method: str, vit: nn.Module, vit_groups: Groups, many: Batches) -> None:
    layers = with_layers(vit_groups)
    whole = replace(layers, groups=tuple(group for group in layers if group.holds))
    found = score(vit, whole, many, method).values
    assert {name: tuple(values.shape) for name, values in found.items()} == {group.name: (1,) for group in whole}
    assert all(values.item() > 0 for values in found.values())
