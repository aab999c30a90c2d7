"""Multiply-accumulates as PyTorch counts them, and functions as modules to count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from secateur.core.modules import frozen


def torch_macs(model: nn.Module, example: Tensor) -> float:
    """Half of what PyTorch's counter reports, which counts a multiplication and an addition for each, in evaluation.

    Attention is spelled out: not every release's counter knows the fused one of CPUs, and none the fused modules.
    """
    with (
        frozen(model),
        plain_attention(),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
        torch.no_grad(),
    ):
        model(example)
    return counter.get_total_flops() / 2


@contextmanager
def plain_attention() -> Iterator[None]:
    """The modules of attention run operation by operation."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


class Wrapped(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)
