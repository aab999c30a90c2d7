"""A model whose convolutions hold the weights that they use, so that these can be cut."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


def canonical(model: nn.Module) -> nn.Module:
    """The model itself, or a copy in which weight-standardising convolutions are plain ones.

    Such a convolution (timm's `StdConv2d`, `ScaledStdConv2d`) computes its weight from all input channels, so that
    removing one would change the others; what it computes is a constant once the model is trained.
    """
    computing = {name: weight for name, module in model.named_modules() if (weight := _computed(module)) is not None}
    if not computing:
        return model
    model = copy.deepcopy(model)
    for name, weight in computing.items():
        model.set_submodule(name, _plain(model.get_submodule(name), weight))
    return model


class _Weight(TorchFunctionMode):
    """Notes the weight that a convolution is called with."""

    def __init__(self) -> None:
        super().__init__()
        self.weight: Tensor | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.conv2d:
            self.weight = args[1]
        return func(*args, **(kwargs or {}))


def _computed(module: nn.Module) -> Tensor | None:
    """The weight that a convolution computes when it runs, or None where it uses its parameter as it is."""
    if not isinstance(module, nn.Conv2d) or type(module) in (nn.Conv2d, Conv2dSame):
        return None
    size = [dilation * (kernel - 1) + 1 for kernel, dilation in zip(module.kernel_size, module.dilation, strict=True)]
    with torch.no_grad(), _Weight() as noted:
        module(module.weight.new_zeros(1, module.in_channels, *size))
    if noted.weight is None or noted.weight is module.weight or torch.equal(noted.weight, module.weight):
        return None
    weight: Tensor = noted.weight
    return weight


def _plain(module: nn.Module, weight: Tensor) -> nn.Module:
    """A convolution of the same geometry with that weight."""
    assert isinstance(module, nn.Conv2d)  # for the type checker: only these compute weights
    kind = Conv2dSame if getattr(module, "same_pad", False) else nn.Conv2d
    geometry: dict[str, Any] = {
        name: getattr(module, name) for name in ("kernel_size", "stride", "padding", "dilation", "groups")
    }
    layer = kind(module.in_channels, module.out_channels, bias=module.bias is not None, **geometry)
    layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=module.weight.requires_grad)
    layer.bias = module.bias
    return layer.train(module.training)
