"""Narrower streams and grouped convolutions: what follows from the survivors is recovered exactly, and nothing gets
worse on images held out."""

from __future__ import annotations

import pytest
import torch
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from secateur.pipeline.recover.compensate import repair
from secateur.pipeline.recover.narrowed import narrowed_by
from secateur.pipeline.recover.norm_statistics import norm_statistics
from secateur.pipeline.recover.spec import Compensation
from secateur.pipeline.statistics.moments import fold_moments
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups, Kept
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import prune

Batches = list[tuple[Tensor, Tensor]]
STREAM = "patch_embed.proj.width"
HALF_HEADS = [head * 16 + dim for head in range(3) for dim in range(8)]


def images(count: int, size: int, seed: int = 5) -> Batches:
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(16, 3, size, size, generator=generator), torch.zeros(16, dtype=torch.long)) for _ in range(count)
    ]


class Convolutions(nn.Module):
    """A plain chain with a grouped convolution and a normalisation over channels."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Conv2d(3, 16, 3, padding=1)
        self.b = nn.Conv2d(16, 16, 3, padding=1, groups=4)
        self.c = nn.Conv2d(16, 12, 1)
        self.norm = LayerNorm2d(12)
        self.d = nn.Conv2d(12, 10, 3, padding=1)
        self.head = nn.Linear(10, 5)
        nn.init.normal_(self.norm.weight)
        nn.init.normal_(self.norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(self.a(x).relu()).relu()
        x = self.d(self.norm(self.c(x))).relu()
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]  # modules are untyped


@pytest.fixture
def chain() -> nn.Module:
    return Convolutions().eval()


@torch.no_grad()
def copy_rows(layer: nn.Module, rows: list[int], of: list[int]) -> None:
    for name in ("weight", "bias"):
        tensor = layer.get_parameter(name)
        tensor[rows] = tensor[of]


@torch.no_grad()
def outputs(model: nn.Module, batches: Batches) -> Tensor:
    return torch.cat([model(x) for x, _ in batches])


@torch.no_grad()
def double_stream(vit: nn.Module) -> None:
    """Makes the second half of the residual stream a copy of the first one."""
    first, second = list(range(24)), list(range(24, 48))
    writers = ["patch_embed.proj", *(f"blocks.{b}.{name}" for b in range(2) for name in ("attn.proj", "mlp.fc2"))]
    for name in writers:
        copy_rows(vit.get_submodule(name), second, first)
    for name in ("cls_token", "pos_embed"):
        vit.get_parameter(name)[..., 24:] = vit.get_parameter(name)[..., :24]


def test_a_stream_that_repeats_itself_loses_nothing(vit: nn.Module, vit_groups: Groups) -> None:
    double_stream(vit)
    plan = plan_from_kept(vit_groups, {STREAM: range(24)})
    small = prune(vit, plan, vit_groups)
    repaired, repairs = repair(small, vit, plan, images(4, 16), Compensation(1e-9), vit_groups)
    others = images(1, 16, seed=6)
    expected = outputs(vit, others)
    assert (outputs(small, others) - expected).abs().max() > 0.05
    torch.testing.assert_close(outputs(repaired, others), expected, atol=2e-3, rtol=2e-3)
    readers = {f"blocks.{b}.{name}" for b in range(2) for name in ("attn.qkv", "mlp.fc1")} | {"head"}
    assert {found.layer for found in repairs} == readers
    assert {found.way for found in repairs} == {"refit"}


def test_writers_keep_their_rows(vit: nn.Module, vit_groups: Groups) -> None:
    stays = list(range(0, 48, 2))
    plan = plan_from_kept(vit_groups, {STREAM: stays})
    repaired, _ = repair(prune(vit, plan, vit_groups), vit, plan, images(4, 16), groups=vit_groups)
    for name in ("blocks.0.attn.proj", "blocks.1.mlp.fc2"):
        for part in ("weight", "bias"):
            dense = vit.get_submodule(name).get_parameter(part)
            assert torch.equal(repaired.get_submodule(name).get_parameter(part), dense[stays])


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"blocks.0.mlp.hidden": range(0, 192, 2)},
        {"blocks.0.attn.v": HALF_HEADS, "blocks.1.attn.qk": HALF_HEADS, "blocks.1.attn.heads": [0, 2]},
    ],
)
def test_a_narrower_stream_beside_other_units_gets_closer(more: Kept, vit: nn.Module, vit_groups: Groups) -> None:
    plan = plan_from_kept(vit_groups, {STREAM: range(0, 48, 2), **more})
    small = prune(vit, plan, vit_groups)
    repaired, repairs = repair(small, vit, plan, images(4, 16), groups=vit_groups)
    others = images(2, 16, seed=6)
    expected = outputs(vit, others)
    before, after = ((outputs(model, others) - expected).square().mean() for model in (small, repaired))
    assert after < 0.8 * before
    assert all(found.error_after <= found.error_before for found in repairs)


def test_mixed_heads_read_the_narrower_stream_as_well_as_it_allows(vit: nn.Module, vit_groups: Groups) -> None:
    """With a stream that repeats itself and values of half the rank, nothing is lost though both are halved."""
    double_stream(vit)
    qkv = vit.get_submodule("blocks.0.attn.qkv")
    with torch.no_grad():
        for start in (96, 112, 128):
            turn, _ = torch.linalg.qr(torch.randn(16, 16))
            for name in ("weight", "bias"):
                tensor = qkv.get_parameter(name)
                tensor[start : start + 16] = turn[:, :8] @ tensor[start : start + 8]
    plan = plan_from_kept(vit_groups, {STREAM: range(24), "blocks.0.attn.v": HALF_HEADS})
    repaired, repairs = repair(prune(vit, plan, vit_groups), vit, plan, images(4, 16), Compensation(1e-9), vit_groups)
    others = images(1, 16, seed=6)
    torch.testing.assert_close(outputs(repaired, others), outputs(vit, others), atol=5e-3, rtol=5e-3)
    assert "mixtures" in {found.way for found in repairs}


def test_the_statistics_are_those_of_the_dense_features(vit: nn.Module, vit_groups: Groups) -> None:
    """By definition: the narrower normalisation of what stays of the dense stream, beside what it does not say."""
    stays = list(range(0, 48, 3))
    plan = plan_from_kept(vit_groups, {STREAM: stays})
    small = prune(vit, plan, vit_groups)
    batches = images(2, 16)
    found = norm_statistics(small, vit, narrowed_by(vit, vit_groups, plan), batches, 2)["blocks.1.mlp.fc1"]
    kept: dict[str, Tensor] = {}
    norm = vit.get_submodule("blocks.1.norm2")
    handle = norm.register_forward_hook(lambda _m, args, out: kept.update(s=args[0], x=out))
    with torch.no_grad():
        vit(torch.cat([x for x, _ in batches])[1::2])
        handle.remove()
        z = small.get_submodule("blocks.1.norm2")(kept["s"][..., stays])
    rest = kept["x"].clone()
    rest[..., stays] -= z
    rows = torch.cat([rest, z], dim=-1).flatten(0, 1).double()
    torch.testing.assert_close(found[1].mean, rows.mean(0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[1].covariance, rows.T.cov(correction=0), atol=1e-4, rtol=1e-3)


def test_what_does_not_hold_on_other_images_is_left_alone(vit: nn.Module, vit_groups: Groups) -> None:
    plan = plan_from_kept(vit_groups, {STREAM: range(47)})
    small = prune(vit, plan, vit_groups)
    two = [(torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)), torch.zeros(2, dtype=torch.long))]
    repaired, repairs = repair(small, vit, plan, two, Compensation(0.0), vit_groups)
    alone = [found.layer for found in repairs if found.way == "none"]
    assert alone
    for name in alone:
        pairs = zip(small.get_submodule(name).parameters(), repaired.get_submodule(name).parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    assert all(found.error_after == found.error_before for found in repairs if found.way == "none")


def test_channels_repeated_around_a_grouped_convolution_lose_nothing(chain: nn.Module) -> None:
    groups = find_groups(chain, torch.zeros(1, 3, 8, 8))
    for name in ("a", "b"):  # units are the places within each of the four groups
        copy_rows(
            chain.get_submodule(name),
            [4 * group + place for group in range(4) for place in (2, 3)],
            [4 * group + place for group in range(4) for place in (0, 1)],
        )
    plan = plan_from_kept(groups, {"a.channels": range(2), "b.channels": range(2)})
    check_exact(chain, groups, plan_kept=plan.kept, layers={"b", "c"})


def test_convolutions_that_lose_inputs_and_outputs_lose_nothing_when_both_repeat(chain: nn.Module) -> None:
    groups = find_groups(chain, torch.zeros(1, 3, 8, 8))
    copy_rows(chain.get_submodule("b"), [4 * g + 3 for g in range(4)], [4 * g for g in range(4)])
    copy_rows(chain.get_submodule("c"), list(range(6, 12)), list(range(6)))
    copy_rows(chain.get_submodule("d"), [8, 9], [0, 1])
    kept = {"b.channels": range(3), "c.channels": range(6), "d.channels": range(8)}
    check_exact(chain, groups, kept, {"c", "d", "head"})


def check_exact(model: nn.Module, groups: Groups, plan_kept: Kept, layers: set[str]) -> None:
    plan = plan_from_kept(groups, plan_kept)
    small = prune(model, plan, groups)
    repaired, repairs = repair(small, model, plan, images(6, 8), Compensation(1e-10), groups)
    others = images(1, 8, seed=6)
    expected = outputs(model, others)
    assert (outputs(small, others) - expected).abs().max() > 0.01
    torch.testing.assert_close(outputs(repaired, others), expected, atol=1e-3, rtol=1e-3)
    assert {found.layer for found in repairs} == layers


def test_each_group_of_a_convolution_is_fitted_to_its_own_inputs(chain: nn.Module) -> None:
    """What one group's survivors say of its lost inputs is no use to another group."""
    groups = find_groups(chain, torch.zeros(1, 3, 8, 8))
    plan = plan_from_kept(groups, {"a.channels": [0, 1, 2]})
    small = prune(chain, plan, groups)
    repaired, (found,) = repair(small, chain, plan, images(6, 8), Compensation(1e-6), groups)
    assert found.error_after < found.error_before
    x = torch.cat([batch for batch, _ in images(6, 8)])
    with torch.no_grad():
        inputs = chain.get_submodule("a")(x).relu()
        wide = nn.functional.unfold(inputs, 3, padding=1).transpose(1, 2).reshape(-1, 4, 4 * 9).double()
        weight = chain.get_submodule("b").get_parameter("weight").double().flatten(1).reshape(4, 4, 36)
        for group in range(4):
            rows = torch.cat([wide[:, group, :27], torch.ones(len(wide), 1).double()], dim=1)
            fitted = torch.linalg.lstsq(rows, wide[:, group] @ weight[group].T).solution[:27].T
            made = repaired.get_submodule("b").get_parameter("weight").flatten(1).reshape(4, 4, 27)[group]
            torch.testing.assert_close(made.double(), fitted, atol=1e-3, rtol=1e-3)


def test_the_rows_of_a_sample_stay_in_one_fold_whatever_their_number() -> None:
    windows = torch.randn(3 * 4, 5, 2)  # three samples of four windows each
    even, odd = fold_moments([(3, {"x": windows})], 2)["x"]
    by_sample = windows.reshape(3, 20, 2).double()
    assert (even.count, odd.count) == (40, 20)
    torch.testing.assert_close(odd.mean, by_sample[1].mean(0))
    torch.testing.assert_close(even.second, torch.einsum("snd,sne->de", by_sample[::2], by_sample[::2]) / 40)
