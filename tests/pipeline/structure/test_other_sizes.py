"""timm's families at sizes, shapes and settings that no one tuned for, and a model of Hugging Face."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.surgery import prune
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


@pytest.mark.parametrize("case", list(MODELS))
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
