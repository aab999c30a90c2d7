"""Scores by the published code of Pruning by eXplaining, for a comparison on the same weights and images.

The code is no part of secateur: a checkout of `erfanhatefi/Pruning-by-eXplaining-in-PyTorch` and its dependency
zennit must be given. It knows torchvision's ViT alone, which gets the weights of timm's. What it cannot run without
is patched: it imports a debugger's module that it never uses.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from secateur.core.errors import BenchError
from secateur.pipeline.scores.score import Scores

DEPTHS = ("low_level_hidden_layer_rule", "mid_level_hidden_layer_rule", "high_level_hidden_layer_rule")
EPSILON = {**dict.fromkeys((*DEPTHS, "fully_connected_layers_rule"), "Epsilon"), "softmax_rule": "Epsilon"}
RENAMED = (
    *(("cls_token", "class_token"), ("pos_embed", "encoder.pos_embedding"), ("patch_embed.proj.", "conv_proj.")),
    *((".norm1.", ".ln_1."), (".norm2.", ".ln_2."), (".mlp.fc1.", ".mlp.0."), (".mlp.fc2.", ".mlp.3.")),
    *((".attn.qkv.", ".self_attention.in_proj_"), (".attn.proj.", ".self_attention.out_proj.")),
    *(("blocks.", "encoder.layers.encoder_layer_"), ("norm.", "encoder.ln."), ("head.", "heads.head.")),
)


def published(checkout: Path) -> Any:
    """The authors' package; raises `BenchError` when it cannot be imported."""
    sys.modules.setdefault("pydevd", ModuleType("pydevd"))
    if str(checkout) not in sys.path:
        sys.path.append(str(checkout))
    try:
        return import_module("pxp")
    except ImportError as error:
        raise BenchError(
            f"the published code in {checkout} cannot be imported ({error}): give a checkout of "
            "erfanhatefi/Pruning-by-eXplaining-in-PyTorch, and put zennit on the path"
        ) from error


def torchvision_twin(model: nn.Module) -> nn.Module:
    """Torchvision's ViT with the weights of timm's, in evaluation mode."""
    from torchvision.models.vision_transformer import VisionTransformer

    state: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        for old, new in RENAMED:
            name = name.replace(old, new, 1) if old in f".{name}" or name.startswith(old) else name
        state[name] = value
    blocks = sum(name.endswith("in_proj_weight") for name in state)
    heads = model.get_submodule("blocks.0.attn").num_heads
    side = round((state["encoder.pos_embedding"].shape[1] - 1) ** 0.5) * state["conv_proj.weight"].shape[-1]
    twin = VisionTransformer(
        image_size=side,
        patch_size=state["conv_proj.weight"].shape[-1],
        num_layers=blocks,
        num_heads=heads,
        hidden_dim=state["class_token"].shape[-1],
        mlp_dim=len(state["encoder.layers.encoder_layer_0.mlp.0.weight"]),
        num_classes=len(state["heads.head.weight"]),
    )
    twin.load_state_dict(state)
    twin.eval().requires_grad_(False)
    return twin  # type: ignore[no-any-return]  # torchvision does not annotate it


def attributed(
    twin: nn.Module, single: Iterable[tuple[Tensor, Tensor]], kind: str, checkout: Path
) -> dict[str, Tensor]:
    """What the published code returns with the epsilon rule: for each layer of torchvision's model `[units]`.

    `kind` is `head` or `mlp_hidden`; the batches hold one image each. The model is copied: it would stay changed.
    """
    pxp = published(checkout)
    attribution = pxp.ComponentAttibution("Relevance", "ViT", {"head": nn.Softmax, "mlp_hidden": nn.Linear}[kind])
    composite = pxp.get_vit_composite("vit_b_16", EPSILON)
    found = attribution.attribute(copy.deepcopy(twin), single, composite, abs_flag=True, device="cpu")
    return dict(found)


def published_scores(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], kind: str, checkout: Path) -> Scores:
    """The scores of heads or MLP neurons (`kind`) of timm's `model` by the published code, image by image."""
    single = [(x[None], y[None]) for images, labels in batches for x, y in zip(images, labels, strict=True)]
    twin = torchvision_twin(model)
    with torch.no_grad():
        difference = float((twin(single[0][0]) - model(single[0][0])).abs().max())
    if difference > 1e-3:
        raise BenchError(f"torchvision's model differs from timm's by {difference:.1e}: the weights do not carry over")
    found = attributed(twin, single, kind, checkout)
    where = {"head": "self_attention.softmax", "mlp_hidden": "mlp.0"}[kind]
    name = {"head": "attn.heads", "mlp_hidden": "mlp.hidden"}[kind]
    blocks = sum(key.endswith(where) for key in found)
    values = {f"blocks.{i}.{name}": found[f"encoder.layers.encoder_layer_{i}.{where}"] for i in range(blocks)}
    return Scores(values, "published")
