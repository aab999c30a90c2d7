"""Models of other people: timm's families, torchvision's, CIFAR ResNets, several outputs; pruned, saved, trained on."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from timm.models._features_fx import create_feature_extractor as timm_features
from torch import Tensor, fx, nn
from torchvision.models.feature_extraction import create_feature_extractor

from secateur.benchmarks.runners import torch_runner
from secateur.core.errors import ModelError, SurgeryError
from secateur.core.modules import copied
from secateur.pipeline.models.create import create_model
from secateur.pipeline.recover.compensate import compensate
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.plan import Plan, plan_from_kept
from secateur.pipeline.structure.storage import load, save
from secateur.pipeline.structure.surgery import prune
from tests.later import mostly_nightly
from tests.pipeline.structure.test_random_networks import plan_for, unread

FAMILIES = {
    "test_resnet": {"channel", "width"},
    "test_efficientnet": {"channel"},
    "test_byobnet": {"channel"},
    "test_convnext": {"mlp_hidden", "width"},
    "test_nfnet": {"channel"},
    "test_coatnet": {"channel", "qk_dim", "width"},
}
LONG = ("test_byobnet", "test_coatnet")
"""Families whose kinds of layers the others have too."""


def half(groups: Groups) -> Plan:
    """Every second unit of each group stays, of each head alike."""
    kept = {g.name: [u for u in range(g.units) if u % (g.units // g.blocks) % 2 == 0] for g in groups}
    return plan_from_kept(groups, kept)


@pytest.mark.parametrize("name", mostly_nightly(FAMILIES, [name for name in FAMILIES if name not in LONG]))
def test_a_timm_family_is_pruned_saved_and_trained_on(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = create_model(name, num_classes=7)
    size = model.pretrained_cfg["input_size"]
    before = copy.deepcopy(model.state_dict())
    x = torch.randn(2, *size)
    groups = find_groups(model, x)
    assert FAMILIES[name] <= {group.kind for group in groups}
    small = prune(model, half(groups), groups)
    assert sum(p.numel() for p in small.parameters()) < 0.7 * sum(p.numel() for p in model.parameters())
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    save(small, tmp_path / "small")
    with torch.no_grad():
        expected = small(x)
        assert torch.equal(load(tmp_path / "small")(x), expected)
        assert torch.equal(copy.deepcopy(small)(x), expected)
        assert small.forward_features(x).shape[0] == 2
    small.train()(x).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in small.parameters())
    assert sum(p.grad is not None for p in small.parameters()) > 0.9 * len(list(small.parameters()))


class TwoHeads(nn.Module):
    """A mask and classes at once, as segmentation models return them; the mask at the size of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.two = nn.Sequential(nn.Conv2d(16, 24, 3, padding=1), nn.ReLU())
        self.mask, self.classes = nn.Conv2d(24, 4, 1), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = self.two(self.one(x))
        mask = F.interpolate(self.mask(features), size=x.shape[-2:], mode="bilinear")
        return {"mask": mask, "classes": self.classes(features.mean((2, 3)))}


def test_all_outputs_of_a_model_stay_and_are_proven() -> None:
    model = TwoHeads().eval()
    x = torch.randn(2, 3, 32, 48)
    groups = find_groups(model, x)
    assert [(group.name, group.units) for group in groups] == [("one.0.channels", 16), ("two.0.channels", 24)]
    plan = plan_for(groups, 1)
    found, expected = prune(model, plan, groups)(x), unread(model, groups, plan)(x)
    for key, tensor in expected.items():
        torch.testing.assert_close(found[key], tensor, atol=1e-5, rtol=1e-5)


@pytest.mark.nightly
def test_torchvisions_models_need_no_timm() -> None:
    x = torch.randn(1, 3, 64, 64)
    model = torchvision.models.resnet18().eval()
    groups = find_groups(model, x)
    plan = half(groups)
    assert groups.macs(plan.kept) < 0.5 * groups.macs()
    assert prune(model, plan, groups)(x).shape == (1, 1000)
    vit = torchvision.models.VisionTransformer(32, 8, 2, 3, 48, 96).eval()
    groups = find_groups(vit, torch.randn(1, 3, 32, 32))
    assert [group.units for group in groups if group.kind == "mlp_hidden"] == [96, 96]
    assert prune(vit, half(groups), groups)(torch.randn(2, 3, 32, 32)).shape == (2, 1000)


class CifarBlock(nn.Module):
    """The block of the CIFAR ResNets: its shortcut takes every second pixel and pads the channels with zeros."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride=outside // inside, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(outside), nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.pad = (outside - inside) // 2

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.pad:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(out + x)


def test_shortcuts_that_slice_and_pad_keep_what_they_pad() -> None:
    torch.manual_seed(0)
    stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
    blocks = [CifarBlock(8, 8), CifarBlock(8, 16), CifarBlock(16, 16)]
    model = nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)).eval()
    x = torch.randn(2, 3, 16, 16)
    groups = find_groups(model, x)
    assert sorted(group.units for group in groups if group.kind == "channel") == [8, 16, 16]
    plan = plan_for(groups, 3)
    with torch.no_grad():
        small = prune(model, plan, groups)
        torch.testing.assert_close(small(x), unread(model, groups, plan)(x), atol=1e-5, rtol=1e-5)


class Fixed(nn.Module):
    """Code that no graph replaces: it returns two tensors, and compares a width with a number."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(12, 16), nn.Linear(16, 12)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.one(x)
        if hidden.shape[-1] != 16:
            raise RuntimeError("16 features, please")
        return self.two(hidden), x


class Around(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.first, self.last = Fixed(), nn.Linear(6, 12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        out, skipped = self.inner(self.first(x))
        return self.last(out + skipped)


def test_what_the_code_refuses_is_fixed_with_its_own_words() -> None:
    model = Around().eval()
    groups = find_groups(model, torch.randn(1, 6))
    assert [group.name for group in groups] == ["inner.two.width"]
    assert [(fixed.name, fixed.units) for fixed in groups.fixed] == [("inner.hidden", 16)]
    assert "16 features, please" in groups.fixed[0].reason


def test_a_replayed_plan_on_unverified_groups_is_still_proven() -> None:
    model = Around().eval()
    groups = find_groups(model, torch.randn(1, 6), verify=False)
    assert groups.fingerprint() == find_groups(model, torch.randn(1, 6)).fingerprint()
    with pytest.raises((SurgeryError, RuntimeError), match="16 features, please"):
        prune(model, plan_from_kept(groups, {"inner.hidden": [0, 1]}), groups)


def test_features_only_models_are_pruned() -> None:
    model = timm.create_model("test_resnet", features_only=True).eval()
    groups = find_groups(model, torch.randn(1, 3, 64, 64))
    plan = half(groups)
    small = prune(model, plan, groups)
    shapes = [tuple(tensor.shape) for tensor in model(torch.randn(1, 3, 64, 64))]
    assert [tuple(tensor.shape) for tensor in small(torch.randn(1, 3, 64, 64))] == shapes


SWIN = {"img_size": 32, "window_size": 4, "embed_dim": 8, "depths": (1, 1), "num_heads": (2, 2)}
TRACED = {
    "test_resnet": ({}, ("layer1", "layer2.0")),
    "vit_tiny_patch16_224": ({"img_size": 32, "depth": 1}, ("blocks.0.attn", "norm")),
    "swin_tiny_patch4_window7_224": (SWIN, ("layers.0.blocks.0.attn", "layers.1")),
}


@pytest.mark.parametrize("family", mostly_nightly(TRACED, [one for one in TRACED if one[:4] != "swin"]))
def test_pruned_models_are_traced_by_fx_and_give_their_features(family: str) -> None:
    torch.manual_seed(0)
    keywords, layers = TRACED[family]
    model, x = timm.create_model(family, **keywords).eval(), torch.randn(2, 3, 32, 32)
    groups = find_groups(model, x[:1])
    small = prune(model, half(groups), groups)
    expected: list[Tensor] = []
    handles = [
        small.get_submodule(name).register_forward_hook(lambda _m, _x, out: expected.append(out)) for name in layers
    ]
    with torch.no_grad():
        logits = small(x)
        for handle in handles:
            handle.remove()
        torch.testing.assert_close(fx.symbolic_trace(small)(x), logits)
        for extractor in (create_feature_extractor, timm_features):
            found = extractor(small, {name: name for name in layers})(x)
            torch.testing.assert_close([found[name] for name in layers], expected)


def test_only_one_layer_is_nothing_to_prune() -> None:
    with pytest.raises(ModelError, match="nothing can be removed"):
        find_groups(nn.Sequential(nn.Linear(6, 5)), torch.zeros(1, 6))


class Frozen(nn.Module):
    """A convolution whose weight is a buffer, since it is never trained."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randn(8, 8, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.get_buffer("weight"), padding=1)


@pytest.mark.parametrize("middle", [torchvision.ops.FrozenBatchNorm2d(8), Frozen()])
def test_weights_that_are_buffers_are_cut_as_parameters_are(middle: nn.Module) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), middle, nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 1)
    ).eval()
    groups = find_groups(model, torch.randn(2, 3, 12, 12))
    assert {group.name for group in groups} >= {"0.channels", "3.channels"}
    assert not groups.fixed and not groups.unverifiable
    small = prune(model, half(groups), groups)
    assert len(small[1].weight) == 4 and "1.weight" in dict(small.named_buffers())
    assert [len(small[layer].weight) for layer in (0, 3)] == [4, 3]


class Watched(nn.Module):
    """A model that keeps an activation for others to look at."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)
        self.seen: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.seen = self.a(x).relu()
        out: Tensor = self.b(self.seen)
        return out


def test_an_activation_that_the_model_keeps_is_no_part_of_it() -> None:
    model, x = Watched().eval(), torch.randn(2, 3, 12, 12)
    out = model(x)
    seen = model.seen
    groups = find_groups(model, x)
    assert [(group.name, group.units) for group in groups] == [("a.channels", 8)]
    model.seen = seen  # with its gradient, as any forward pass leaves it
    small = prune(model, half(groups), groups)
    assert torch.equal(model(x), out) and len(small.a.weight) == 4
    small(x)
    assert small.seen.shape[1] == 4
    assert small.seen.requires_grad  # so it is again for all that comes after
    images = [(torch.randn(8, 3, 12, 12), torch.zeros(8, dtype=torch.long)) for _ in range(2)]
    repaired = compensate(small, model, plan_from_kept(groups, half(groups).kept), images)
    with torch.no_grad():
        assert (repaired(x) - out).norm() < (small(x) - out).norm()
    small(x)
    assert copied(small).bfloat16()(x.bfloat16()).dtype == torch.bfloat16
    torch_runner(small, x).run()


class Layered(nn.Module):
    """PyTorch's own transformer layer, which takes another way without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.head = nn.Conv2d(3, 16, 4, 4), nn.Linear(16, 5)
        self.layer = nn.TransformerEncoderLayer(16, 4, 24, 0.0, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.layer(self.patch(x).flatten(2).mT).mean(1))
        return out


def test_a_model_that_takes_another_way_without_gradients_is_right_in_both() -> None:
    model, x = Layered().eval(), torch.randn(2, 3, 16, 16)
    groups = find_groups(model, x)
    assert [group.kind for group in groups] == ["width", "head", "qk_dim", "v_dim", "mlp_hidden"]
    whole = half(groups)
    for name in (None, *whole.kept):
        plan = whole if name is None else plan_from_kept(groups, {name: whole.kept[name]})
        small = prune(model, plan, groups)
        with torch.no_grad():
            plain = small(x)
        torch.testing.assert_close(plain, small(x))
