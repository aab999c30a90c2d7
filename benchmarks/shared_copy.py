"""A model's twin for measurement: modules of its own, the same tensors."""

from __future__ import annotations

import copy

from torch import nn


def shared_copy(model: nn.Module) -> nn.Module:
    """A copy of `model` in evaluation mode that shares its parameters and buffers.

    Whatever a measurement does to modules (mode, hooks) stays on the copy, and no weight is held twice. The copy must
    not be moved or converted: PyTorch does that to parameters in place, which would reach the model.
    """
    tensors: dict[int, object] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, tensors).eval()
