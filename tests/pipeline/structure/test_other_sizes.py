"""timm's families at sizes, shapes and settings that no one tuned for, and a model of Hugging Face."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from secateur.core.errors import SurgeryError
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import prune
from tests.later import mostly_nightly
from tests.pipeline.structure.test_any_model import half

SWIN = {"img_size": (64, 96), "depths": (1, 1), "num_heads": (2, 4), "embed_dim": 32, "window_size": 4}
VIT = {"img_size": (48, 80), "depth": 2, "class_token": False, "global_pool": "avg", "qk_norm": True}
MODELS: dict[str, tuple[str, dict[str, Any], tuple[int, int, int], set[str]]] = {
    "a wide image, no class token": (
        "vit_tiny_patch16_224",
        VIT,
        (3, 48, 80),
        {"head", "v_dim", "mlp_hidden", "width"},
    ),
    "grey images": ("resnet10t", {"in_chans": 1}, (1, 40, 56), {"channel", "width"}),
    "response normalisation": ("convnextv2_atto", {}, (3, 96, 64), {"channel", "width"}),
    "windows on a wide image": ("swin_tiny_patch4_window7_224", SWIN, (3, 64, 96), {"qk_dim", "v_dim", "width"}),
    "a high image": ("regnety_002", {}, (3, 96, 64), {"channel"}),
}


@pytest.mark.parametrize("case", mostly_nightly(MODELS, ("windows on a wide image", "grey images")))
def test_other_sizes_of_families_are_pruned(case: str) -> None:
    name, settings, shape, kinds = MODELS[case]
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=7, **settings).eval()
    x = torch.randn(2, *shape)
    groups = find_groups(model, x)
    assert kinds <= {group.kind for group in groups}
    plan = half(groups)
    small = prune(model, plan, groups)
    assert groups.macs(plan.kept) < 0.5 * groups.macs()
    assert small(x).shape == (2, 7)


def test_a_vit_of_hugging_face_is_pruned() -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 96}
    settings = transformers.ViTConfig(image_size=32, patch_size=8, num_labels=7, **sizes)

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vit = transformers.ViTForImageClassification(settings)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.vit(x).logits
            return logits

    model = Logits().eval()
    x = torch.randn(2, 3, 32, 32)
    groups = find_groups(model, x)
    kinds = [group.kind for group in groups]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        **dict.fromkeys(("head", "qk_dim", "v_dim", "mlp_hidden"), 2),
        "width": 1,
    }
    assert prune(model, half(groups), groups)(x).shape == (2, 7)


class Strips(nn.Module):
    """Attention within strips of seven rows, one after another: as many steps as the picture has strips."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(12, 36), nn.Linear(12, 12)

    def forward(self, x: Tensor) -> Tensor:
        found = []
        for top in range(0, x.shape[1], 7):
            strip = x[:, top : top + 7].flatten(1, 2)
            q, k, v = self.qkv(strip).reshape(len(x), -1, 3, 2, 6).permute(2, 0, 3, 1, 4)
            mixed = (q @ k.transpose(-2, -1) / 6**0.5).softmax(-1) @ v
            found.append(self.proj(mixed.transpose(1, 2).flatten(2)))
        return torch.cat(found, 1).mean(1)


class Striped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.attn, self.head = nn.Conv2d(3, 12, 4, 4), Strips(), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.attn(self.stem(x).permute(0, 2, 3, 1)))
        return found


def test_code_that_takes_other_steps_for_any_size_is_that_of_the_examples_size(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = Striped().eval()
    groups = find_groups(model, torch.randn(1, 3, 40, 40))
    assert (groups.fixed, groups.adapted, groups.one_size) == ((), ("attn",), ("attn",))
    kept = {group.name: range(0, group.units, 2) for group in groups if group.kind in ("qk_dim", "v_dim")}
    assert len(kept) == 2
    small = prune(model, plan_from_kept(groups, kept), groups)
    assert "the size of the inputs is fixed now" in caplog.text
    assert small.train()(torch.randn(3, 3, 40, 40)).shape == (3, 5)
    for size in (36, 64):
        with pytest.raises(SurgeryError, match="taken over for one size of its inputs"):
            small(torch.randn(2, 3, size, size))
