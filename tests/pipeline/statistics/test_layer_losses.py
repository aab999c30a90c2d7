"""Measured losses of layers: by a slow reference that puts a module of constants in the layer's place."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.core.errors import DataError
from secateur.pipeline.statistics.layer_losses import layer_losses
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.layers import with_layers
from secateur.pipeline.tasks.classify import Classify


class Constant(nn.Module):
    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return self.value.expand(*x.shape[:-1], -1)


def reference(model: nn.Module, modules: list[str], images: Tensor) -> float:
    """The divergence where each module gives its mean over all images and tokens of the dense model."""
    means: dict[str, Tensor] = {}
    for name in modules:
        model.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, out, name=name: means.__setitem__(name, out.flatten(0, 1).mean(0))
        )
    goal = model(images).log_softmax(-1)
    changed = copy.deepcopy(model)
    for name in modules:
        changed.set_submodule(name, Constant(means[name]))
    return float(F.kl_div(changed(images).log_softmax(-1), goal, reduction="batchmean", log_target=True))


@pytest.mark.parametrize(
    ("layer", "modules"),
    [
        ("blocks.0.attn", ["blocks.0.attn.proj"]),
        ("blocks.1.mlp", ["blocks.1.mlp.fc2"]),
        ("blocks.0", ["blocks.0.attn.proj", "blocks.0.mlp.fc2"]),
    ],
)
def test_it_is_the_divergence_without_the_layer(
    layer: str, modules: list[str], vit: nn.Module, vit_groups: Groups
) -> None:
    images = torch.randn(7, 3, 16, 16)
    batches = [(images[:4], None), (images[4:], None)]
    before = {name: value.clone() for name, value in vit.state_dict().items()}
    found = layer_losses(vit, [with_layers(vit_groups).named(layer)], batches, Classify())
    assert found[layer].shape == (1,)
    assert not any(module._forward_hooks for module in vit.modules())
    assert all(torch.equal(value, before[name]) for name, value in vit.state_dict().items())
    with torch.no_grad():
        assert found[layer].item() == pytest.approx(reference(vit, modules, images), rel=1e-4)
    assert found[layer].item() > 1e-3


def test_a_few_images_are_enough_and_none_is_too_few(vit: nn.Module, vit_groups: Groups) -> None:
    layers = [with_layers(vit_groups).named("blocks.0.mlp")]
    read: list[int] = []

    class Loader:
        def __iter__(self):  # type: ignore[no-untyped-def]  # of a test
            for number in range(9):
                read.append(number)
                yield torch.randn(16, 3, 16, 16), None

    layer_losses(vit, layers, Loader(), Classify())
    assert read == [0, 1, 2, 3]  # 64 images
    with pytest.raises(DataError, match="no images to measure layers on"):
        layer_losses(vit, layers, [], Classify())
