"""Outputs with gradients of models that hold too much for the backward pass: block by block, computed twice.

Chen et al., "Training Deep Nets with Sublinear Memory Cost" (arXiv 1604.06174), by PyTorch's own checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from secateur.core.model_inputs import call, tensors_in

HELD = 2 * 2**30
"""Bytes that a model may hold for the backward pass before its blocks are computed twice."""


class _TooMuchHeld(Exception):
    """More than allowed is held for the backward pass."""


def outputs_with_gradients(model: nn.Module, x: Any, held: int = HELD) -> list[Tensor]:
    """The tensors that a model returns for `x`, which gradients can be taken of once.

    Where more than `held` bytes would be kept for that, the model's blocks (`blocks_of`) keep what they are given only,
    and compute the rest again in the backward pass.
    """
    with torch.enable_grad():
        try:
            with torch.autograd.graph.saved_tensors_hooks(_Held(model, held), _as_it_is):
                return tensors_in(call(model, x))
        except _TooMuchHeld:
            pass  # and with it what was held
        with _recomputed(model):
            return tensors_in(call(model, x))


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """The parts of a model's lists and sequences that have parts themselves, the innermost ones."""
    parts = [part for module in model.modules() if isinstance(module, nn.Sequential | nn.ModuleList) for part in module]
    inner = dict.fromkeys(part for part in parts if any(True for _ in part.children()))
    return [part for part in inner if not any(module in inner for module in part.modules() if module is not part)]


class _Held:
    """Counts the bytes that a graph holds beside the model's own, each storage once, and raises above the limit."""

    def __init__(self, model: nn.Module, limit: int) -> None:
        self.left = limit
        self.seen = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}

    def __call__(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.seen:
            self.seen.add(storage.data_ptr())
            self.left -= storage.nbytes()
        if self.left < 0:
            raise _TooMuchHeld
        return tensor.detach()


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


@contextmanager
def _recomputed(model: nn.Module) -> Iterator[None]:
    """Has the blocks of a model run under checkpoints."""
    before = {block: block.__dict__.get("forward") for block in blocks_of(model)}
    try:
        for block in before:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)
        yield
    finally:
        for block, forward in before.items():
            del block.__dict__["forward"]
            if forward is not None:
                block.forward = forward
