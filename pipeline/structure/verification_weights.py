"""Weights with which two models are compared: of order one everywhere, so that nothing hides behind a zero."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from secateur.core.model_inputs import ModelInputs, call
from secateur.pipeline.structure.canonical import CALLS
from secateur.pipeline.structure.cutting import sliced

Place = tuple[str, int]
TINY, WEAK = 1e-2, 0.5
"""Below these root mean squares a scale says next to nothing, and a table is made stronger."""
CENTRED = 0.5
"""The share of a layer's mean output that calibration takes away. With all of it, deep convolutional models amplify
rounding (xception41p: removed and masked differ by 2e-4 of the output); with none, the tokens of deep transformers
become alike, so that it no longer matters where they look (cait_xxs24: by 5e-3)."""
FEW = 16
"""With fewer values of a channel than that, as where squeezed features are normalised, its statistics are no
statistics: normalised by them, each block would amplify rounding several times (rexnet_100: 1e12 times in all)."""
CHANNEL_OF: dict[Callable[..., Any], int] = {call: -1 if call is F.linear else 1 for call in CALLS}


@dataclass(frozen=True)
class VerificationWeights:
    """What becomes of a dense model's tensors in a comparison; the same for all models that were cut from it.

    `factors[name]` multiplies a tensor. `values[name]`, of the dense shape, stands in for one that is zero, tiny or
    constant, as freshly initialised scales, normalisations, LayerScales and last layers are: with these, wrong units
    would go unnoticed. Tensors in neither stay as they are.
    """

    factors: Mapping[str, float] = field(default_factory=dict)
    values: Mapping[str, Tensor] = field(default_factory=dict)

    def tensors(
        self, model: nn.Module, dtype: torch.dtype, index: Mapping[Place, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """All tensors of a model by name, floating-point ones as `dtype`; those that change in memory of their own.

        `index` has for (tensor, dim) the positions of the dense model that this model has.
        """
        found = {}
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.is_floating_point():
                tensor = tensor.detach().to(dtype)
            if name in self.values:
                tensor = sliced(self.values[name].to(tensor), name, index or {}).clone()
            elif name in self.factors:
                tensor = tensor * self.factors[name]
            found[name] = tensor.detach()
        return found


def verification_weights(dense: nn.Module) -> VerificationWeights:
    """Order-one weights for a dense model, seeded by each tensor's name; where they can, those that it has, rescaled.

    Weights of layers get the variance 2 / fan-in (He et al., 2015), tables and embeddings a root mean square of one.
    Buffers stay but for running statistics, and weights that are buffers since they are frozen.
    """
    factors: dict[str, float] = {}
    values: dict[str, Tensor] = {}
    modules = dict(dense.named_modules())
    for name, tensor in [*dense.named_parameters(), *dense.named_buffers()]:
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        path, _, leaf = name.rpartition(".")
        data = tensor.detach()
        data = data.float() if data.dtype in (torch.float16, torch.bfloat16) else data
        draw = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        new: Tensor | float | None
        if isinstance(tensor, nn.Parameter) or leaf in ("weight", "bias"):
            new = _order_one(modules[path], leaf, data, draw)
        else:
            new = _statistic(leaf, data.shape, draw)
        if isinstance(new, Tensor):
            values[name] = new.to(data)
        elif new is not None:
            factors[name] = new
    return VerificationWeights(factors, values)


def _statistic(leaf: str, shape: torch.Size, draw: torch.Generator) -> Tensor | None:
    if leaf == "running_mean":
        return 0.1 * torch.randn(shape, generator=draw)
    return 0.75 + 0.5 * torch.rand(shape, generator=draw) if leaf == "running_var" else None


def _order_one(module: nn.Module, leaf: str, data: Tensor, draw: torch.Generator) -> Tensor | float | None:
    """A parameter's new values, or the factor that scales it; None where it stays."""
    size = float(torch.linalg.vector_norm(data)) / math.sqrt(data.numel())
    flat = data.numel() > 1 and abs(size - abs(float(data.flatten()[0]))) <= TINY * size  # spares most a second pass
    constant = flat and float(data.std()) <= 1e-3 * size
    dead = constant or size < 1e-20
    long = sum(length > 1 for length in data.shape)
    if (isinstance(module, nn.Linear | _ConvNd) and leaf == "weight") or (long > 1 and "weight" in leaf):
        outputs = data.shape[1] if isinstance(module, _ConvTransposeNd) else data.shape[0]
        wanted = math.sqrt(2 * outputs / data.numel())
        return wanted * torch.randn(data.shape, generator=draw) if dead else wanted / size
    if long > 1:
        return torch.randn(data.shape, generator=draw) if dead else 1 / size if size < WEAK else None
    if "bias" in leaf:
        return 0.25 * torch.randn(data.shape, generator=draw)
    if size < TINY or (leaf == "weight" and hasattr(module, "eps")):  # a scale, or that of a normalisation
        signs = torch.randint(2, data.shape, generator=draw) * 2 - 1
        return signs * (0.5 + torch.rand(data.shape, generator=draw))
    # others may be exponents or temperatures, which have to stay near what they are
    return data.cpu() * (0.75 + 0.5 * torch.rand(data.shape, generator=draw)) if constant else None


def calibrated(copied: nn.Module, weights: VerificationWeights, x: ModelInputs) -> tuple[Any, VerificationWeights]:
    """The outputs of a dense model's copy, whose layers are rescaled as it runs, and the weights that it has then.

    `copied` holds tensors of `weights`, of its own. Every linear layer and convolution gets outputs of root mean
    square one, with `CENTRED` of each channel's mean taken off its bias, and every BatchNorm the statistics of its
    input, so that no branch vanishes and none explodes (data-dependent initialisation: Mishkin and Matas 2016,
    1511.06422; Kraehenbuehl et al. 2016, 1511.06856). Call it without gradients.
    """
    named = dict([*copied.named_parameters(), *copied.named_buffers()])
    own = {id(tensor): name for name, tensor in named.items() if name in weights.factors or name in weights.values}
    with _Calibration(own) as calibration:
        outputs = call(copied, x)
    factors = {name: factor * calibration.factors.get(name, 1.0) for name, factor in weights.factors.items()}
    values = {name: named[name].detach() if name in named else value for name, value in weights.values.items()}
    return outputs, replace(weights, factors=factors, values=values)


class _Calibration(TorchFunctionMode):
    """Rescales each layer, in place, when it is called for the first time; `own` has the names of its tensors.

    Those that something else has read before stay, such as the table of an embedding that is the last layer's weight.
    """

    def __init__(self, own: Mapping[int, str]) -> None:
        super().__init__()
        self.own = own
        self.factors: dict[str, float] = {}
        self.normalised: set[int] = set()
        self.read: set[int] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.batch_norm and len(args) > 2 and id(args[1]) in self.own and id(args[1]) not in self.normalised:
            self.normalised.add(id(args[1]))
            self._statistics(*args[:3])
        elif func in CHANNEL_OF and len(args) > 1:
            name = None if id(args[1]) in self.read else self.own.get(id(args[1]))
            if name is not None and name not in self.factors:
                bias = args[2] if len(args) > 2 else kwargs.pop("bias", None)
                y = func(args[0], args[1], None, *args[3:], **kwargs)
                return self._layer(name, args[1], bias, y, CHANNEL_OF[func])
        found = func(*args, **kwargs)
        if any(isinstance(leaf, Tensor) for leaf in tree_leaves(found)):  # no shape or type
            self.read.update(id(leaf) for leaf in tree_leaves((args, kwargs)) if leaf is not found)
        return found

    def _layer(self, name: str, weight: Tensor, bias: Tensor | None, y: Tensor, channel: int) -> Tensor:
        """The output of a layer, given what its weight makes of the input; weight and bias change with it."""
        shape = [1] * y.ndim
        shape[channel] = -1
        adjustable = bias is not None and id(bias) in self.own.keys() - self.read
        if adjustable:
            y = y - (shift := CENTRED * _over_all_but(y, channel)).reshape(shape)
        size = float(torch.linalg.vector_norm(y.detach(), dtype=_wide(y))) / math.sqrt(max(y.numel(), 1))
        factor = self.factors[name] = 1 / size if size > 1e-20 else 1.0
        weight.data.mul_(factor)
        y = y.mul_(factor) if bias is None else torch.addcmul(bias.reshape(shape), y, y.new_tensor(factor))
        if bias is not None and adjustable:
            bias.data.sub_(factor * shift)
        return y

    def _statistics(self, x: Tensor, mean: Tensor, var: Tensor) -> None:
        if x.numel() < FEW * x.shape[1]:
            mean.zero_()
            var.fill_(float(x.square().mean()) or 1.0)
            return
        middle = _over_all_but(x, 1)
        spread = _over_all_but(x.square(), 1) - CENTRED * (2 - CENTRED) * middle.square()
        alive = spread[spread > 0]
        mean.copy_(CENTRED * middle)
        var.copy_(spread.clamp_min(0.1 * alive.mean()) if alive.numel() else torch.ones_like(var))


def _wide(x: Tensor) -> torch.dtype:
    """A type in which a sum of squares does not overflow."""
    return torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype


def _over_all_but(x: Tensor, channel: int) -> Tensor:
    """The mean over all dimensions but one."""
    return x.mean([dim for dim in range(x.ndim) if dim != channel % x.ndim])
