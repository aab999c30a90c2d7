"""What a layer reads, for tests that compute from it what a repair should find."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def inputs(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], name: str) -> list[Tensor]:
    """The input of the module `name`, batch by batch."""
    found: list[Tensor] = []
    handle = model.get_submodule(name).register_forward_pre_hook(lambda _m, args: found.append(args[0].detach()))
    with torch.no_grad():
        for x, _ in batches:
            model(x)
    handle.remove()
    return found
