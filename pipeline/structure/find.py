"""The groups of a model: everything that can be removed from it, and everything that cannot, with the reason."""

from __future__ import annotations

import torch
from timm.layers import Attention
from torch import Tensor, nn

from secateur.pipeline.errors import ModelError
from secateur.pipeline.structure.cost import layer_terms, reuse_by_layer
from secateur.pipeline.structure.groups import Fixed, Group, Groups, Term
from secateur.pipeline.structure.vit import attention_groups, is_mlp, mlp_groups


def find_groups(model: nn.Module, example_input: Tensor) -> Groups:
    """All groups of `model`, with what its operations cost on one sample of `example_input` `[B, ...]`.

    The model runs once, in evaluation mode, and is left as it was. Raises `ModelError` when nothing in it can be
    removed.
    """
    groups: list[Group] = []
    fixed: list[Fixed] = []
    terms: list[Term] = []
    with torch.no_grad():
        reuse = reuse_by_layer(model, example_input)
    for name, module in model.named_modules():
        if isinstance(module, Attention) and f"{name}.qkv" in reuse:
            found = attention_groups(name, module, reuse[f"{name}.qkv"])
        elif is_mlp(module) and f"{name}.fc2" in reuse:
            found = mlp_groups(name, module)
        else:
            continue
        groups += found.groups
        fixed += found.fixed
        terms += found.terms
    if not groups:
        raise ModelError(
            f"nothing can be removed from this {type(model).__name__}: "
            "it holds none of timm's attention or MLP modules that secateur knows; choose a ViT or DeiT model"
        )
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    parameters = frozenset(key for key, _ in model.named_parameters())
    result = Groups(tuple(groups), tuple(fixed), (), shapes, parameters, tuple(example_input.shape[1:]))
    every = (*layer_terms(model, reuse, result.axes), *terms)
    return Groups(result.groups, result.fixed, every, shapes, parameters, result.input_shape)
