"""What is asked of any `nn.Module`: to run in evaluation mode and be left as it was, its device, copies of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from secateur.core.errors import ModelError

AnyModule = TypeVar("AnyModule", bound=nn.Module)


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
def remembering(model: nn.Module) -> Iterator[None]:
    """The model, whose modules have their attributes and buffers of before afterwards, also after an error.

    Modules may replace them when they run, such as positions that are kept for the next picture of the same size.
    """
    states = [(part, dict(vars(part)), dict(part._buffers)) for part in model.modules()]
    try:
        yield
    finally:
        for part, attributes, buffers in states:
            for names, before in ((part._buffers, buffers), (vars(part), attributes)):
                names.clear()
                names.update(before)


CHECKPOINTING = ("grad_checkpointing", "gradient_checkpointing")
"""By what name modules of timm and of transformers know whether their blocks run under gradient checkpointing."""


@contextmanager
def frozen(*models: nn.Module) -> Iterator[None]:
    """The models in evaluation mode with no parameter asking for a gradient; all is as it was afterwards.

    Blocks do not run under gradient checkpointing, which would run them a second time in the backward pass.
    """
    asking = [(parameter, parameter.requires_grad) for model in models for parameter in model.parameters()]
    parts = [part for model in models for part in model.modules()]
    switches = [(part, name) for part in parts for name in CHECKPOINTING if getattr(part, name, False) is True]
    with evaluating(*models):
        for model in models:
            model.requires_grad_(False)
        for part, name in switches:
            setattr(part, name, False)
        try:
            yield
        finally:
            for parameter, ask in asking:
                parameter.requires_grad_(ask)
            for part, name in switches:
                setattr(part, name, True)


def device_of(model: nn.Module) -> torch.device:
    """The device of the model's first parameter or buffer; the CPU for a model without any."""
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return torch.device("cpu")


def copied(model: AnyModule, memo: dict[int, Any] | None = None) -> AnyModule:
    """A deep copy of `model`, in which what `memo` has for the id of an object takes its place.

    Modules may keep tensors from a forward pass with gradients, such as attention maps: the copy has their numbers,
    without what they were computed from. Raises `ModelError`, naming the attribute, for one that cannot be copied.
    """
    memo = {} if memo is None else memo
    for part in model.modules():
        for leaf in tree_leaves(vars(part)):
            if isinstance(leaf, Tensor) and not leaf.is_leaf:
                memo.setdefault(id(leaf), leaf.detach())
    try:
        return copy.deepcopy(model, memo)
    except (RuntimeError, TypeError) as error:
        raise ModelError(
            f"{_uncopied(model, memo) or 'a part of the model'} cannot be copied ({error}): delete the attribute, or "
            "set it to None"
        ) from error


def _uncopied(model: nn.Module, memo: dict[int, Any]) -> str:
    """The name of the first attribute that cannot be copied."""
    for name, part in model.named_modules():
        for key, value in vars(part).items():
            if not isinstance(value, dict) or key not in vars(nn.Module()):
                try:
                    copy.deepcopy(value, dict(memo))
                except (RuntimeError, TypeError):
                    return f"the attribute {f'{name}.{key}'.lstrip('.')}"
    return ""


def shared_copy(model: nn.Module) -> nn.Module:
    """A copy of `model` in evaluation mode that shares its parameters and buffers.

    Whatever a measurement does to modules (mode, hooks) stays on the copy, and no weight is held twice. The copy must
    not be moved or converted: PyTorch does that to parameters in place, which would reach the model.
    """
    tensors: dict[int, object] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copied(model, tensors).eval()
