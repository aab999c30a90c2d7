"""Convolutions that compute their weights become plain ones that compute the same."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from timm.layers import Conv2dSame, ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame
from torch import nn

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
