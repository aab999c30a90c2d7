"""What whole feature maps cost: from the definition, image by image."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.pipeline.scores.obs import _scale
from secateur.pipeline.statistics import parts
from secateur.pipeline.statistics.fisher import gather
from secateur.pipeline.statistics.layer_matrices import Reader, matrix

Batches = list[tuple[Tensor, Tensor]]


@pytest.fixture(scope="module")
def images() -> Batches:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(n, 3, 16, 16, generator=generator), torch.zeros(n)) for n in (4, 3)]


def model_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    sizes = {"img_size": 16, "patch_size": 4, "embed_dim": 48, "depth": 1, "num_heads": 3}
    kwargs = sizes if name.startswith("vit") else {"channels": (8, 8, 8, 8), "zero_init_last": False}
    return timm.create_model(name, num_classes=4, **kwargs).eval()


@pytest.mark.parametrize(
    ("name", "layer"), [("vit_tiny_patch16_224", "blocks.0.mlp.fc2"), ("resnet18", "layer1.0.conv2")]
)
def test_a_map_that_is_fixed_at_its_mean_costs_the_square_of_its_whole_slope(
    name: str, layer: str, images: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The statistics are gathered in parts of two images, which change nothing."""
    monkeypatch.setattr(parts, "LEAST", 2)
    monkeypatch.setattr(parts, "HELD_BYTES", 1)
    model = model_of(name)
    reader = Reader(layer, ())
    curvatures, _ = gather(model, [reader], [], images, seed=3, weight=None)  # type: ignore[arg-type]  # a list will do
    module = model.get_submodule(layer)
    seen: list[Tensor] = []
    module.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    slopes, values = [], []
    draws = np.random.default_rng(3)
    for x, _ in images:
        logits = model(x.requires_grad_())
        points = torch.from_numpy(draws.random(len(x)))
        labels = torch.searchsorted(logits.detach().double().softmax(1).cumsum(1), points[:, None])[:, 0]
        (slope,) = torch.autograd.grad(F.cross_entropy(logits, labels, reduction="sum"), seen[-1])
        dim = 1 if isinstance(module, nn.Conv2d) else 2
        for g, h in zip(slope.movedim(dim, 1).flatten(2), seen[-1].detach().movedim(dim, 1).flatten(2), strict=True):
            slopes.append(g.double())
            values.append(h.double())
    found = curvatures[layer]
    mean = found.inputs.mean.reshape(len(slopes[0]), -1).mean(1)
    costs = torch.stack(
        [(g * (h - mean[:, None])).sum(1).square() / 2 for g, h in zip(slopes, values, strict=True)]
    ).mean(0)
    torch.testing.assert_close(found.removal, costs, rtol=1e-3, atol=1e-10)

    weight, covariance = matrix(module), found.inputs.covariance
    size = weight.shape[1] // len(costs)
    bend = torch.randn(len(weight), len(weight), dtype=torch.float64)
    bend = bend @ bend.T
    columns = torch.arange(len(costs)).repeat_interleave(size)
    columns[columns == 1] = -1  # stays for good
    alone = 0.0
    for channel in range(len(costs)):
        part = slice(channel * size, (channel + 1) * size)
        if channel != 1:
            alone += float((weight[:, part].T @ bend @ weight[:, part] @ covariance[part, part]).trace())
    expected = (float(costs.sum()) - float(costs[1])) / alone
    assert _scale(found, weight, bend, columns) == pytest.approx(expected, rel=1e-3)
