"""Relevance scores: options, sites of convolutions, and one slow layer-by-layer reference on a whole network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from secateur.pipeline.scores.score import score
from secateur.pipeline.structure.groups import Group, Groups, Site


def channel_groups(*sites: tuple[str, str, int]) -> Groups:
    """Groups of convolution channels at the given (module, side, channels)."""
    made = [
        Group(f"{module}.{side}", "channel", units, (), (Site(module, side, 1, tuple(range(units))),))  # type: ignore[arg-type]  # one of two words
        for module, side, units in sites
    ]
    return Groups(tuple(made), (), (), {}, frozenset(), (3, 6, 6))


def test_channels_hold_what_a_layer_by_layer_pass_gives_them() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(20, 3))
    model = model.double().eval()
    x, labels = torch.randn(2, 3, 6, 6).double(), torch.tensor([2, 0])
    groups = channel_groups(("2", "input", 4), ("2", "output", 5))
    found = score(model, groups, [(x, labels)], "lrp", composite="epsilon", aggregate="signed").values
    a = model[1](model[0](x))
    b = model[3](model[2](a)).flatten(1)
    weight = model[5].weight[labels]  # [2, 20]
    z = model(x).gather(1, labels[:, None])
    relevance = b * weight * z / (z + 1e-6 * z.sign())  # of the flattened channels
    upper = relevance.reshape(2, 5, 2, 2)
    zb = model[2](a)
    ratio = torch.where(zb > 0, upper / (zb + 1e-6 * zb.sign()), 0)
    lower = a * nn.functional.conv_transpose2d(ratio, model[2].weight)
    torch.testing.assert_close(found["2.output"], upper.sum((2, 3)).mean(0).float())
    torch.testing.assert_close(found["2.input"], lower.sum((2, 3)).mean(0).float())


def test_the_target_is_the_label_or_the_prediction(
    vit: nn.Module, vit_groups: Groups, batches: list[tuple[Tensor, Tensor]]
) -> None:
    images = torch.cat([x for x, _ in batches])
    best = vit(images).argmax(1)
    by_label = score(vit, vit_groups, [(images, best)], "lrp").values
    predicted = score(vit, vit_groups, batches, "lrp", target="predicted").values
    for name, value in by_label.items():
        torch.testing.assert_close(value, predicted[name], rtol=1e-3, atol=1e-6)
