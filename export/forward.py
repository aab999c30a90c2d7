"""Running a model as a function of one tensor: in evaluation mode, with its outputs in a flat, named order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from secateur.core.errors import ExportError


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The block runs with `model` in evaluation mode and without gradients; every submodule gets its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def device_of(model: nn.Module) -> torch.device:
    """The device of the model's first parameter or buffer; the CPU for a model without any."""
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return torch.device("cpu")


def flat_outputs(value: object, name: str = "") -> dict[str, Tensor]:
    """The tensors of a model's return value by name, in a fixed order.

    A single tensor is `logits`; the members of a tuple or list are `output_0`, `output_1`, ..., those of a mapping
    are named by their keys; nested names are joined by `_`. Raises `ExportError` for values that are no tensors.
    """
    if isinstance(value, Tensor):
        return {name or "logits": value}
    if isinstance(value, Mapping):
        parts = {f"{name}_{key}" if name else str(key): member for key, member in value.items()}
    elif isinstance(value, tuple | list) and value:
        parts = {f"{name or 'output'}_{index}": member for index, member in enumerate(value)}
    else:
        raise ExportError(
            f"the model returns {type(value).__name__} for {name or 'its output'}, but only tensors, and tuples, lists "
            "and mappings of tensors can be exported: wrap the model in a module that returns tensors"
        )
    return {key: tensor for part, member in parts.items() for key, tensor in flat_outputs(member, part).items()}
