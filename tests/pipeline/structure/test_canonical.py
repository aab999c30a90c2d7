"""Convolutions that compute their weights become plain ones that compute the same."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame, ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from secateur.pipeline.structure.canonical import canonical

STANDARDISING = [StdConv2d, StdConv2dSame, ScaledStdConv2d, ScaledStdConv2dSame]


@pytest.mark.parametrize("kind", STANDARDISING)
@pytest.mark.parametrize(("stride", "dilation", "groups"), list(itertools.product((1, 2), (1, 2), (1, 2))))
def test_the_plain_convolution_computes_the_same(
    kind: type[nn.Conv2d], stride: int, dilation: int, groups: int
) -> None:
    torch.manual_seed(0)
    layer = kind(4, 6, kernel_size=3, stride=stride, dilation=dilation, groups=groups, bias=True)
    model = nn.Sequential(layer, nn.ReLU()).eval()
    before = copy.deepcopy(model.state_dict())
    found = canonical(model)
    assert found is not model
    assert type(found[0]) in (nn.Conv2d, Conv2dSame)
    assert model[0] is layer
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    for size in (7, 8):
        x = torch.randn(2, 4, size, size)
        torch.testing.assert_close(found(x), model(x), atol=1e-6, rtol=1e-5)


def test_a_model_of_plain_convolutions_is_itself() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), Conv2dSame(4, 4, 3), nn.BatchNorm2d(4))
    assert canonical(model) is model


def test_a_subclass_that_uses_its_weight_as_it_is_stays() -> None:
    class Named(nn.Conv2d):
        pass

    model = nn.Sequential(Named(3, 4, 3))
    assert canonical(model) is model


@pytest.mark.parametrize("training", [True, False])
def test_mode_gradients_and_missing_biases_are_kept(training: bool) -> None:
    model = nn.Sequential(StdConv2d(4, 6, kernel_size=3, bias=False)).train(training)
    model[0].weight.requires_grad_(False)
    found = canonical(model)
    assert found[0].bias is None
    assert found[0].training == training
    assert not found[0].weight.requires_grad
    assert canonical(found) is found


def masked_convolution() -> nn.Module:
    layer = nn.Conv2d(3, 6, 3)
    prune.random_unstructured(layer, "weight", 0.3)  # type: ignore[no-untyped-call]  # PyTorch has no types there
    prune.l1_unstructured(layer, "weight", 0.3)  # type: ignore[no-untyped-call]  # as above
    prune.l1_unstructured(layer, "bias", 0.3)  # type: ignore[no-untyped-call]  # as above
    return layer


GIVEN: dict[str, Callable[[], nn.Module]] = {
    "weight normalisation": lambda: parametrizations.weight_norm(nn.Conv2d(3, 6, 3)),
    "weight normalisation by a hook": lambda: weight_norm(nn.Conv2d(3, 6, 3)),
    "spectral normalisation": lambda: parametrizations.spectral_norm(nn.Conv2d(3, 6, 3)),
    "spectral normalisation by a hook": lambda: spectral_norm(nn.Conv2d(3, 6, 3)),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Conv2d(3, 6, 3)),
    "transposed": lambda: parametrizations.weight_norm(nn.ConvTranspose2d(3, 6, 3, 2, output_padding=1)),
    "masks": masked_convolution,
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.parametrize("name", list(GIVEN))
def test_what_is_computed_for_a_layer_from_outside_becomes_its_own(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(GIVEN[name](), nn.ReLU()).train()
    x = torch.randn(2, 3, 7, 7)
    model(x)  # with gradients: what hooks leave behind cannot be copied by itself
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    found = canonical(model)
    assert sorted(found.state_dict()) == ["0.bias", "0.weight"]
    assert type(found[0]) in (nn.Conv2d, nn.ConvTranspose2d) and found[0].training
    assert found[0].weight.requires_grad and found[0].weight.is_leaf
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    torch.testing.assert_close(found.eval()(x), model.eval()(x))
    assert canonical(found) is found
    assert sorted(canonical(model).state_dict()) == ["0.bias", "0.weight"], "once more, from the same model"


class Cosine(nn.Linear):
    """A linear layer with rows of length one."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, F.normalize(self.weight, dim=1), self.bias)


class Gain(Cosine):
    """One that does more."""

    def forward(self, x: Tensor) -> Tensor:
        return 3 * super().forward(x)


class Adapted(nn.Linear):
    """One that is called beside others (LoRA)."""

    def __init__(self) -> None:
        super().__init__(4, 6)
        self.down, self.up = nn.Linear(4, 1), nn.Linear(1, 6)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = super().forward(x) + self.up(self.down(x))
        return out


def test_linear_layers_that_compute_their_weight_become_plain_too() -> None:
    model, x = nn.Sequential(Cosine(4, 6)), torch.randn(2, 4)
    found = canonical(model)
    assert type(found[0]) is nn.Linear
    torch.testing.assert_close(found(x), model(x))


@pytest.mark.parametrize("layer", [Gain(4, 6), Adapted()])
def test_a_layer_that_does_more_than_compute_its_weight_stays(layer: nn.Module) -> None:
    model = nn.Sequential(layer)
    assert canonical(model) is model
