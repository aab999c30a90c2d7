"""timm's families under the rules: without biases, the image holds the logit to the last digits."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn

from secateur.pipeline.scores.lrp.composite import DEPTHS, find_composite
from secateur.pipeline.scores.lrp.relevance import IMAGES, relevances
from tests.later import mostly_nightly

EXACT: dict[str, Any] = {depth: {"rule": "epsilon", "epsilon": 0} for depth in DEPTHS}
SMALL = {"img_size": 32, "embed_dim": 48, "depth": 2, "num_heads": 3}
STAGES = {"img_size": 56, "embed_dim": 24, "depths": (2, 2), "num_heads": (2, 4)}
FAMILIES: dict[str, dict[str, Any]] = {
    "swin_tiny_patch4_window7_224": STAGES,
    "swinv2_tiny_window8_256": {**STAGES, "img_size": 64},
    "beit_base_patch16_224": SMALL,
    "deit_tiny_distilled_patch16_224": SMALL,
    "deit3_small_patch16_224": SMALL,
    "eva02_tiny_patch14_224": {**SMALL, "img_size": 28},
    "cait_xxs24_224": SMALL,
    "xcit_nano_12_p16_224": SMALL,
    **{name: {} for name in ("convnext_atto", "convnextv2_atto", "resnet18", "resnet50", "seresnet18", "resnetv2_50")},
    **{name: {} for name in ("mobilenetv2_050", "mobilenetv3_small_050", "mobilenetv4_conv_small", "regnety_002")},
    **{name: {} for name in ("ghostnet_050", "mobilevit_xxs", "edgenext_xx_small", "repvit_m1")},
}


@pytest.mark.parametrize("name", mostly_nightly(FAMILIES, list(FAMILIES)[1::2]))
def test_a_model_without_biases_conserves_relevance(name: str) -> None:
    """CP-LRP and the epsilon rule with epsilon 0 conserve relevance wherever no bias takes any."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=5, **FAMILIES[name]).double().eval()
    constants = ("bias", "pos_embed", "cls_token", "dist_token")
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if any(word in key for word in constants) and "table" not in key:
                nn.init.zeros_(parameter)
    side = FAMILIES[name].get("img_size", 64)
    images = torch.randn(2, 3, side, side).double()
    rules = find_composite({**EXACT, "attention": "cp"})
    (found,) = relevances(model, [(images, torch.tensor([1, 2]))], (IMAGES,), rules)
    logits = found.logits.gather(1, found.classes[:, None])[:, 0]
    assert logits.abs().min() > 0
    torch.testing.assert_close(found.images.flatten(1).sum(1), logits, rtol=1e-3, atol=0)
