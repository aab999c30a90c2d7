"""What is asked of any `nn.Module`: to run in evaluation mode and be left as it was, its device, a twin of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(*models: nn.Module) -> Iterator[None]:
    """The models in evaluation mode; each of their parts is back in its own mode afterwards, also after an error."""
    modes = [(part, part.training) for model in models for part in model.modules()]
    for model in models:
        model.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def frozen(*models: nn.Module) -> Iterator[None]:
    """The models in evaluation mode with no parameter asking for a gradient; all is as it was afterwards."""
    asking = [(parameter, parameter.requires_grad) for model in models for parameter in model.parameters()]
    with evaluating(*models):
        for model in models:
            model.requires_grad_(False)
        try:
            yield
        finally:
            for parameter, ask in asking:
                parameter.requires_grad_(ask)


def device_of(model: nn.Module) -> torch.device:
    """The device of the model's first parameter or buffer; the CPU for a model without any."""
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return torch.device("cpu")


def shared_copy(model: nn.Module) -> nn.Module:
    """A copy of `model` in evaluation mode that shares its parameters and buffers.

    Whatever a measurement does to modules (mode, hooks) stays on the copy, and no weight is held twice. The copy must
    not be moved or converted: PyTorch does that to parameters in place, which would reach the model.
    """
    tensors: dict[int, object] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, tensors).eval()
