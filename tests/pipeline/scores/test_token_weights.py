"""The weights of tokens, recomputed from their definitions for one layer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.pipeline.scores.lrp.composite import find_composite
from secateur.pipeline.scores.lrp.relevance import relevances
from secateur.pipeline.scores.token_weights import CLASS_TOKEN_WEIGHT, STEPS, TOKEN_WEIGHTS
from secateur.pipeline.statistics.fisher import gather
from secateur.pipeline.statistics.layer_matrices import Reader
from secateur.pipeline.structure.groups import Site

LAYER = "blocks.0.mlp.fc2"
Definition = Callable[[nn.Module, Tensor], Tensor]


def seen(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The logits, and what the layer reads and gives."""
    found: list[Tensor] = []
    handle = model.get_submodule(LAYER).register_forward_hook(lambda _m, args, out: found.extend((args[0], out)))
    logits = model(images.clone().requires_grad_())
    handle.remove()
    return logits, found[0], found[1]


def drawn_loss(logits: Tensor) -> Tensor:
    """The cross-entropy with the labels that the statistics draw with seed 7."""
    points = torch.from_numpy(np.random.default_rng(7).random(len(logits)))
    labels = torch.searchsorted(logits.detach().double().softmax(1).cumsum(1), points[:, None])[:, 0]
    return F.cross_entropy(logits, labels, reduction="sum")


def gradient(model: nn.Module, images: Tensor) -> Tensor:
    logits, _, out = seen(model, images)
    return torch.autograd.grad(drawn_loss(logits), out)[0].square().sum(2)


def activation(model: nn.Module, images: Tensor) -> Tensor:
    return seen(model, images)[1].detach().square().sum(2)


def taylor(model: nn.Module, images: Tensor) -> Tensor:
    logits, x, _ = seen(model, images)
    return (x.detach() * torch.autograd.grad(drawn_loss(logits), x)[0]).sum(2).abs()


def lrp(model: nn.Module, images: Tensor) -> Tensor:
    batch = (images, model(images).argmax(1))
    (found,) = relevances(model, [batch], [Site(LAYER, "input", -1, ())], find_composite("epsilon"), "label")
    return found.at[LAYER, "input"].sum(2).abs()


def integrated_gradients(model: nn.Module, images: Tensor) -> Tensor:
    change = seen(model, images)[1].detach() - seen(model, torch.zeros_like(images))[1].detach()
    classes, mean = model(images).argmax(1), torch.zeros_like(change)
    for step in range(STEPS):
        logits, x, _ = seen(model, images * (step + 0.5) / STEPS)
        mean += torch.autograd.grad(logits[range(len(images)), classes].sum(), x)[0] / STEPS
    return (change * mean).sum(2).abs()


def class_token(model: nn.Module, images: Tensor) -> Tensor:
    weights = torch.ones(seen(model, images)[1].shape[:2])
    weights[:, 0] = CLASS_TOKEN_WEIGHT
    return weights


DEFINITIONS: dict[str, Definition] = {
    function.__name__: function for function in (gradient, activation, taylor, lrp, integrated_gradients, class_token)
}


def test_each_weighting_has_a_definition_here() -> None:
    assert set(TOKEN_WEIGHTS.names()) == {"none", *DEFINITIONS}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_statistics_weigh_each_token_by_its_definition(name: str, vit: nn.Module) -> None:
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    loader = [(images, torch.zeros(4, dtype=torch.long))]
    found, _ = gather(vit, [Reader(LAYER, ())], [], loader, 7, TOKEN_WEIGHTS.find(name))
    weights = DEFINITIONS[name](vit, images).detach().double()
    rows = seen(vit, images)[1].detach().double()
    assert found[LAYER].inputs.count == pytest.approx(float(weights.sum()), rel=1e-4)
    total = (weights[:, :, None] * rows).sum((0, 1))
    torch.testing.assert_close(found[LAYER].inputs.total, total, rtol=1e-3, atol=1e-4)
    assert not images.requires_grad
