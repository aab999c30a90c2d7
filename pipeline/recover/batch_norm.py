"""Statistics of a pruned model's batch normalisations, moved by what pruning and repair have changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from secateur.core.model_inputs import call, moved
from secateur.core.modules import device_of, frozen
from secateur.pipeline.data.loader import Batches


def keeps_statistics(module: nn.Module) -> bool:
    """Whether a module normalises by means and variances `[channels]` that it has stored, frozen ones too."""
    stored = [getattr(module, name, None) for name in ("running_mean", "running_var")]
    return all(isinstance(tensor, Tensor) for tensor in stored) and isinstance(getattr(module, "eps", None), float)


def reestimate(small: nn.Module, dense: nn.Module, stays: Mapping[str, Tensor], loader: Batches) -> None:
    """Moves the statistics of the normalisations of `small` that `stays` names by what has changed before them.

    `stays` has the mask `[channels]` of the dense model's channels that are left. With the mean m and the variance v
    that a channel has over the images of `loader` in the dense model, and m', v' in `small`, the stored mean mu and
    variance s^2 of the dense model become

        s'^2 = s^2 v' / v,    mu' = m' - (m - mu) s' / s,

    so that a channel comes out with the mean and the variance that it has in the dense model. Where mu and s^2 are
    those of the images, mu' = m' and s'^2 = v'; where nothing has changed nothing does, whatever the images are. All
    variances include `eps`. It takes one pass over the images, which count the same in batches of any size; each
    normalisation uses the statistics so far, so that those behind it see what it makes of them.
    """
    if not stays:
        return
    device = device_of(small)
    with ExitStack() as hooks, frozen(small, dense), torch.no_grad():
        for name, mask in stays.items():
            pair = _Pair(dense.get_submodule(name), small.get_submodule(name), mask.to(device))
            for module, read in ((pair.dense, pair.read_dense), (pair.small, pair.read_small)):
                hooks.callback(module.register_forward_pre_hook(read).remove)
        for images, _ in loader:
            inputs = moved(images, device)
            call(dense, inputs), call(small, inputs)


def adapt_statistics(small: nn.Module, loader: Batches) -> None:
    """Gives every normalisation of `small` the means and variances of what it reads of the images of `loader`.

    What the stored ones came from is forgotten: for images of another kind than those that the dense model was trained
    on (AdaBN; Li et al., 2016, arXiv 1603.04779). One pass, in which each uses the statistics so far.
    """
    device = device_of(small)
    with ExitStack() as hooks, frozen(small), torch.no_grad():
        for module in small.modules():
            if keeps_statistics(module):
                hooks.callback(module.register_forward_pre_hook(_adapting(_Moments())).remove)
        for images, _ in loader:
            call(small, moved(images, device))


def _adapting(moments: _Moments) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    """A hook that stores the moments of all that a normalisation has read."""

    def read(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        moments.add(inputs[0])
        module.get_buffer("running_mean").copy_(moments.mean)
        module.get_buffer("running_var").copy_(moments.variance)

    return read


class _Pair:
    """A normalisation of the dense model and what is left of it, each with the moments of what it has read."""

    def __init__(self, dense: nn.Module, small: nn.Module, stays: Tensor) -> None:
        self.dense, self.small, self.stays = dense, small, stays
        self.wide, self.narrow = _Moments(), _Moments()

    def read_dense(self, _module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.wide.add(inputs[0])

    def read_small(self, _module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.narrow.add(inputs[0])
        eps = float(self.dense.eps)  # type: ignore[arg-type]  # `keeps_statistics`
        mu, variance, m, v = (
            tensor.double()[self.stays]
            for tensor in (
                self.dense.get_buffer("running_mean"),
                self.dense.get_buffer("running_var"),
                self.wide.mean,
                self.wide.variance,
            )
        )
        ratio = (self.narrow.variance + eps) / (v + eps)
        self.small.get_buffer("running_var").copy_(((variance + eps) * ratio - eps).clamp_min(0))
        self.small.get_buffer("running_mean").copy_(self.narrow.mean - (m - mu) * ratio.sqrt())


class _Moments:
    """The mean and the variance `[channels]`, in float64, of all values `[B, channels, ...]` that were added."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.variance = torch.zeros((), dtype=torch.float64)

    def add(self, values: Tensor) -> None:
        """Takes a batch in (Chan, Golub and LeVeque, 1983: moments of two parts, without cancellation)."""
        rows = values.transpose(0, 1).flatten(1)
        variance, mean = torch.var_mean(rows.float() if rows.itemsize < 4 else rows, dim=1, correction=0)
        self.count += rows.shape[1]
        share = rows.shape[1] / self.count
        gap = mean.double() - self.mean.to(mean.device)
        self.variance = (1 - share) * self.variance.to(mean.device) + share * variance + share * (1 - share) * gap**2
        self.mean = self.mean.to(mean.device) + share * gap
