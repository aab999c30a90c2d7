"""A model whose layers hold the weights that they use, so that these can be cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.parametrize import is_parametrized
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.overrides import TorchFunctionMode

from secateur.core.modules import copied, evaluating
from secateur.pipeline.structure.outputs import TOLERANCE, relative_difference

PLAIN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
"""Layers that use their weight as it is, unless they are subclasses."""
CALLS = (F.linear, F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


def canonical(model: nn.Module) -> nn.Module:
    """The model itself, or a copy in which layers that compute their weights are plain ones.

    Weight standardisation (timm's `StdConv2d`, `ScaledStdConv2d`), parametrisations of `torch.nn.utils`, weight and
    spectral normalisation and pruning masks compute a weight from others, of all units: removing one would change the
    others. What they compute is a constant once the model is trained.
    """
    if any(_given(module) for module in model.modules()):
        model = copied(model)
        for module in model.modules():
            _hold(module)
    return _plain_layers(model) or model


def _given(module: nn.Module) -> bool:
    """Whether a tensor of a module is computed by what was put on the module from outside."""
    return is_parametrized(module) or any(_is_computing(hook) for hook in module._forward_pre_hooks.values())


def _is_computing(hook: object) -> bool:
    return isinstance(hook, WeightNorm | SpectralNorm | prune.BasePruningMethod)


def _hold(module: nn.Module) -> None:
    """Makes a module hold what is computed for it from outside."""
    if is_parametrized(module):
        _remove_parametrizations(module)
    for hook in list(module._forward_pre_hooks.values()):
        if isinstance(hook, WeightNorm):
            remove_weight_norm(module, hook.name)
        elif isinstance(hook, SpectralNorm):
            remove_spectral_norm(module, hook.name)
        elif isinstance(hook, prune.BasePruningMethod):
            prune.remove(module, hook._tensor_name)  # type: ignore[no-untyped-call]  # PyTorch has no types there


def _remove_parametrizations(module: nn.Module) -> None:
    """Makes a module hold the tensors that its parametrisations compute.

    PyTorch's own function changes the class, which copies share with the module that they were made of.
    """
    with torch.no_grad(), evaluating(module):  # in training mode spectral normalisation would go on with its iteration
        values = {name: (getattr(module, name).detach().clone(), found) for name, found in _parametrizations(module)}
    module.__class__ = type(module).__bases__[0]
    del module.parametrizations
    for name, (tensor, found) in values.items():
        sources = list(found.parameters())
        if sources:
            asks = any(source.requires_grad for source in sources)
            module.register_parameter(name, nn.Parameter(tensor, requires_grad=asks))
        else:
            module.register_buffer(name, tensor)


def _parametrizations(module: nn.Module) -> list[tuple[str, nn.Module]]:
    found = module.parametrizations
    assert isinstance(found, nn.ModuleDict)  # for the type checker: the caller has seen that there are some
    return list(found.items())


def _plain_layers(model: nn.Module) -> nn.Module | None:
    """A copy of a model with plain layers in place of those that compute their weights; None where none does."""
    found = {name: layer for name, module in model.named_modules() if (layer := _plain(module)) is not None}
    if not found:
        return None
    model = copied(model)
    for name, layer in found.items():
        model.set_submodule(name, layer)
    return model


class _Weight(TorchFunctionMode):
    """Notes the weights that a layer's calls have."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in CALLS:
            self.weights.append(args[1] if len(args) > 1 else kwargs["weight"])
        return func(*args, **kwargs)


def _plain(module: nn.Module) -> nn.Module | None:
    """A layer with the weight that a layer computes when it runs; None where it uses its own, or does more than that.

    Both are tried on a small random input.
    """
    if not isinstance(module, PLAIN) or type(module) in (*PLAIN, Conv2dSame):
        return None
    own = module.weight
    if isinstance(module, nn.Linear):
        shape = [1, module.in_features]
    else:
        pairs = zip(module.kernel_size, module.dilation, strict=True)
        shape = [1, module.in_channels, *(dilation * (kernel - 1) + 1 for kernel, dilation in pairs)]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(own)
    with torch.no_grad(), evaluating(module), _Weight() as noted:
        expected = module(x)
    if len(noted.weights) != 1 or noted.weights[0] is own or noted.weights[0].shape != own.shape:
        return None
    if torch.equal(noted.weights[0], own):
        return None
    layer = _with_weight(module, noted.weights[0])
    with torch.no_grad():
        return layer if relative_difference([layer(x)], [expected]) < TOLERANCE[own.dtype] else None


def _with_weight(module: nn.Module, weight: Tensor) -> nn.Module:
    """A plain layer of the same geometry with that weight."""
    assert isinstance(module, PLAIN)  # for the type checker: only these compute weights
    layer: nn.Linear | _ConvNd
    if isinstance(module, nn.Linear):
        layer = nn.Linear(module.in_features, module.out_features, device="meta")
    else:
        kind = Conv2dSame if getattr(module, "same_pad", False) else next(c for c in PLAIN[1:] if isinstance(module, c))
        names = ["kernel_size", "stride", "padding", "dilation", "groups"]
        names += ["padding_mode"] * (kind is not Conv2dSame) + ["output_padding"] * module.transposed
        geometry: dict[str, Any] = {name: getattr(module, name) for name in names}
        layer = kind(module.in_channels, module.out_channels, device="meta", **geometry)
    layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=module.weight.requires_grad)
    layer.bias = module.bias
    return layer.train(module.training)
