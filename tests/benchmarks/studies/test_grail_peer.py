"""GRAIL's side of the comparison: what its functions are given, and that its equation is ours without the mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from secateur_studies.grail_peer import RIDGE, compensate_by_grail, gather_grams, mlp_layers, select
from torch import Tensor, nn

from secateur.core.errors import BenchError
from secateur.pipeline.recover.narrowed import Narrowed, NarrowedLayer, narrowed_by
from secateur.pipeline.recover.ridge import Fit, Pairs, fit_towards
from secateur.pipeline.statistics.moments import Moments
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import prune

Batches = list[tuple[Tensor, Tensor]]


class Compensation:
    """Its equation from the paper, on any layer: W_new = W G_HP (G_PP + ridge mean(diag G_PP) I)^-1."""

    def __init__(self, model: nn.Module, ridge_lambda: float) -> None:
        self.model, self.ridge = model, ridge_lambda

    def load_compression_state(self, entries: Iterable[Mapping[str, Any]]) -> None:
        self.entries = list(entries)

    def load_gram_stats(self, grams: Mapping[str, Tensor]) -> None:
        self.grams = grams

    @torch.no_grad()
    def apply(self) -> None:
        for entry in self.entries:
            gram, stays = self.grams[entry["layer_name"]].double(), entry["in_keep"]
            inner = gram[stays][:, stays]
            inner = inner + self.ridge * inner.diagonal().mean() * torch.eye(len(stays))
            mix = gram[:, stays] @ torch.linalg.inv(inner)
            weight = entry["weight_full"].double()[entry["out_keep"]]
            rebuilt = torch.einsum("oh...,hk->ok...", weight, mix)
            layer = self.model.get_submodule(entry["layer_name"])
            layer.get_parameter("weight").copy_(rebuilt)


class Gatherer:
    """Gram matrices of what layers read, from a hook on each."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.grams = model, dict[str, Tensor]()

    def run_calibration(self, batches: Batches, device: torch.device, num_batches: int = 1) -> None:
        for name, layer in self.model.named_modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                layer.register_forward_pre_hook(lambda layer, inputs, name=name: self._add(name, layer, inputs[0]))
        with torch.no_grad():
            for images, _ in batches[:num_batches]:
                self.model(images.to(device))

    def _add(self, name: str, layer: nn.Module, x: Tensor) -> None:
        rows = (x.movedim(1, -1) if isinstance(layer, nn.Conv2d) else x).flatten(0, -2)
        self.grams[name] = self.grams.get(name, torch.zeros(())) + rows.T @ rows

    def get_gram_stats(self) -> dict[str, Tensor]:
        return self.grams


class FirstUnits:
    """A selector of the first hidden units, which keeps what it was given."""

    def __init__(self, model: nn.Module, compression_ratio: float, p: int, base: Any) -> None:
        self.model, self.keep, self.p, self.base = model, 1 - compression_ratio, p, base
        self.grams, self.act_scales = dict[str, Tensor](), dict[str, Tensor]()
        self.entries: list[dict[str, Any]] = []

    def apply(self) -> nn.Module:
        print("[INFO] it prints")
        for fc, proj in self.base.get_axis_to_perm_ViT_Simple(self.model).values():
            first, second = self.model.get_submodule(fc), self.model.get_submodule(proj)
            assert isinstance(first, nn.Linear)
            assert isinstance(second, nn.Linear)
            assert torch.equal(self.act_scales[proj], self.grams[proj].diagonal().sqrt())
            stays = torch.arange(int(first.out_features * self.keep))
            entry = {"layer_name": proj, "in_keep": stays, "out_keep": slice(None), "weight_full": second.weight.data}
            self.entries.append(entry)
            first.weight, first.bias = nn.Parameter(first.weight[stays]), nn.Parameter(first.bias[stays])
            second.weight = nn.Parameter(second.weight[:, stays])
        return self.model

    def get_compression_state(self) -> list[dict[str, Any]]:
        return self.entries


@pytest.fixture
def peer() -> Any:
    base = SimpleNamespace(get_axis_to_perm_ViT_Simple=None)
    selectors = {"first": (lambda model, **options: FirstUnits(model, base=base, **options), {"p": 1})}
    compensations = dict.fromkeys(("PruneCompensation", "FoldingCompensation", "LayerCompensation"), Compensation)
    return SimpleNamespace(base=base, selectors=selectors, GramGatherer=Gatherer, **compensations)


def test_gram_matrices_are_of_all_images_and_the_model_is_left_alone(
    peer: Any, vit: nn.Module, batches: Batches
) -> None:
    grams = gather_grams(peer, vit, batches)
    seen = []
    handle = vit.get_submodule("blocks.1.mlp.fc2").register_forward_pre_hook(
        lambda _, x: seen.append(x[0].flatten(0, 1))
    )
    with torch.no_grad():
        for images, _ in batches:
            vit(images)
    handle.remove()
    rows = torch.cat(seen)
    torch.testing.assert_close(grams["blocks.1.mlp.fc2"], rows.T @ rows, rtol=1e-4, atol=1e-3)
    assert not any(module._forward_pre_hooks for module in vit.modules())


@pytest.mark.parametrize("compensated", [False, True])
def test_its_selectors_cut_the_mlps_of_a_copy(
    compensated: bool, peer: Any, vit: nn.Module, batches: Batches, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(mlp_layers(vit).values()) == [[f"blocks.{i}.mlp.fc1", f"blocks.{i}.mlp.fc2"] for i in range(2)]
    grams = gather_grams(peer, vit, batches)
    small = select(peer, vit, grams, "first", 0.25, compensated)
    dense, cut = (model.get_parameter("blocks.0.mlp.fc2.weight") for model in (vit, small))
    units = dense.shape[1] * 3 // 4
    assert cut.shape == (dense.shape[0], units)
    assert torch.equal(cut, dense[:, :units]) is not compensated
    assert capsys.readouterr().out == ""
    with pytest.raises(BenchError, match=r"have to lose 120% of their hidden units: give a smaller share"):
        select(peer, vit, grams, "first", 1.2, compensated)


def test_what_our_surgery_left_is_rebuilt_by_its_equation(
    peer: Any, vit: nn.Module, vit_groups: Groups, batches: Batches
) -> None:
    names = ("blocks.0.mlp.hidden", "blocks.1.attn.v", "blocks.0.attn.qk")
    plan = plan_from_kept(vit_groups, {name: range(0, vit_groups.named(name).units, 2) for name in names})
    cut, grams = prune(vit, plan, vit_groups), gather_grams(peer, vit, batches)
    small = compensate_by_grail(peer, cut, vit, narrowed_by(vit, vit_groups, plan), grams)
    rebuilt = [
        name for name, parameter in small.named_parameters() if not torch.equal(parameter, cut.get_parameter(name))
    ]
    assert rebuilt == ["blocks.0.mlp.fc2.weight", "blocks.1.attn.proj.weight"]  # products have no equation
    gram, weight = grams["blocks.0.mlp.fc2"].double(), vit.get_parameter("blocks.0.mlp.fc2.weight").double()
    inner = gram[::2, ::2]
    expected = weight @ gram[:, ::2] @ torch.linalg.inv(inner + RIDGE * inner.diagonal().mean() * torch.eye(len(inner)))
    torch.testing.assert_close(small.get_parameter("blocks.0.mlp.fc2.weight").double(), expected, rtol=1e-3, atol=1e-5)


def test_convolutions_are_rebuilt_channel_by_channel_unless_they_are_grouped(peer: Any) -> None:
    dense = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 6, 3))
    images = torch.randn(4, 3, 12, 12)
    grams = gather_grams(peer, dense, [(images, torch.zeros(4))])
    small = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Conv2d(5, 5, 3, groups=5), nn.Conv2d(5, 4, 3))
    channels, rows = torch.arange(8) < 5, torch.arange(6) < 4
    grouped = NarrowedLayer(torch.ones(9).bool(), channels, parts=8)
    narrowed = Narrowed({"1": grouped, "2": NarrowedLayer(channels.repeat_interleave(9), rows)})
    rebuilt = compensate_by_grail(peer, small, dense, narrowed, grams)
    assert torch.equal(rebuilt.get_parameter("1.weight"), small.get_parameter("1.weight"))
    gram, weight = grams["2"], dense.get_parameter("2.weight")
    inner = gram[:5, :5] + RIDGE * gram.diagonal()[:5].mean() * torch.eye(5)
    expected = torch.stack(
        [weight[:4, :, i, j] @ gram[:, :5] @ inner.inverse() for i in range(3) for j in range(3)], -1
    )
    torch.testing.assert_close(rebuilt.get_parameter("2.weight").flatten(2), expected, rtol=1e-3, atol=1e-5)
    wider = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Identity(), nn.Conv2d(6, 4, 3))
    with pytest.raises(
        BenchError, match=r"'2' is a Conv2d \[4, 6, 3, 3\], but GRAIL would write a weight \[4, 5, 3, 3\]"
    ):
        compensate_by_grail(peer, wider, dense, Narrowed({"2": narrowed.layers["2"]}), grams)


def test_its_equation_is_our_ridge_regression_towards_nothing_and_about_zero() -> None:
    dense, rows = nn.Linear(12, 7), torch.randn(200, 12) @ torch.randn(12, 12) + torch.randn(12)
    stays = torch.arange(12) % 3 != 0
    small = nn.Linear(8, 7)
    entry = {"layer_name": "", "in_keep": stays.nonzero().flatten(), "out_keep": slice(None)}
    theirs = Compensation(small, RIDGE)
    theirs.load_compression_state([{**entry, "weight_full": dense.weight.data}])
    theirs.load_gram_stats({"": rows.T @ rows})
    theirs.apply()
    moments = Moments.empty(12, rows.device)
    moments.add(rows)
    weight, select = dense.weight.detach().double(), torch.eye(12, dtype=torch.float64)[stays]
    pairs = Pairs.of_layer(moments, weight, select)
    ours = fit_towards(Fit(torch.zeros(7, 8, dtype=torch.float64), None), pairs, RIDGE)
    torch.testing.assert_close(small.weight.double(), ours.weight, rtol=1e-4, atol=1e-5)
    # what differs: ours shrinks towards what surgery left, and about the mean, which the bias takes up
    usual = fit_towards(Fit(weight[:, stays], torch.zeros(7).double()), pairs, RIDGE)
    assert usual.bias is not None
    left = rows.double() @ weight.T - rows[:, stays].double() @ usual.weight.T - usual.bias
    assert left.square().mean() < 0.9 * (rows @ dense.weight.T - rows[:, stays] @ small.weight.T).square().mean()
