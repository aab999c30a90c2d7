"""Torch-Pruning's side of the one-shot comparison: its importances, its ranking and its surgery, at a limit of MACs."""

from __future__ import annotations

import copy
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.benchmarks.flops import count_macs
from secateur.core.errors import BenchError
from secateur.core.modules import frozen

IMPORTANCES = {
    "magnitude": "GroupMagnitudeImportance",
    "taylor": "GroupTaylorImportance",
    "hessian": "GroupHessianImportance",
}
CLOSE = 0.995
TOLERANCE = 0.001  # of the pruning ratio, at which the search for it ends
Slopes = Mapping[str, Tensor]
"""For each parameter, by name, what an importance expects in its `grad`."""


def import_peer(folder: Path) -> Any:
    """The package torch_pruning in a folder."""
    sys.path.append(str(folder))
    import torch_pruning  # type: ignore[import-not-found]  # a peer, installed by hand

    return torch_pruning


def slopes(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], importance: str) -> dict[str, Tensor]:
    """What an importance needs of the cross-entropy: the mean gradient for `taylor`, the mean squared gradient of
    single images for `hessian`, nothing for `magnitude`.

    The peer's own `accumulate_grad` keeps the last image alone (it looks parameters up by their names), so its mean
    is taken here.
    """
    parameters = dict(model.named_parameters())
    totals = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    if importance == "magnitude":
        return totals
    samples = 0
    with frozen(model), torch.enable_grad():
        for parameter in parameters.values():
            parameter.requires_grad_()
        for images, labels in batches:
            samples += len(labels)
            size = 1 if importance == "hessian" else len(labels)
            for first in range(0, len(labels), size):
                part = slice(first, first + size)
                loss = F.cross_entropy(model(images[part]), labels[part], reduction="sum")
                for name, slope in zip(totals, torch.autograd.grad(loss, list(parameters.values())), strict=True):
                    totals[name] += slope.square() if importance == "hessian" else slope
    return {name: total / samples for name, total in totals.items()}


def prune_peer(
    peer: Any,
    model: nn.Module,
    example: Tensor,
    importance: str,
    isomorphic: bool,
    found: Slopes,
    roots: Collection[str],
    limit_macs: float,
) -> nn.Module:
    """A copy of `model`, pruned by the peer to at most `limit_macs` (by fvcore), and to `CLOSE` of that if it can.

    The layers `roots` may lose outputs. With `isomorphic`, groups of one pattern are ranked together (Isomorphic
    Pruning, arXiv 2407.04616), else each group loses the same share. Raises whatever the peer raises, and
    `BenchError` when its largest pruning ratio leaves too much.
    """
    low, high, best = 0.0, 1.0, None
    while best is None or high - low > TOLERANCE:
        ratio = (low + high) / 2
        if ratio > 0.99:
            raise BenchError(f"torch-pruning leaves more than {limit_macs:.4g} MACs at a pruning ratio of {ratio:.1%}")
        small = copy.deepcopy(model)
        for name, parameter in small.named_parameters():
            parameter.requires_grad_().grad = found[name].clone()
        measure = getattr(peer.importance, IMPORTANCES[importance])()
        pruner = peer.pruner.MetaPruner(
            small,
            example,
            measure,
            global_pruning=isomorphic,
            isomorphic=isomorphic,
            pruning_ratio=ratio,
            in_channel_groups={},  # the peer's defaults are shared by all pruners
            out_channel_groups={},
            num_heads={},
            ignored_layers=[
                module
                for name, module in small.named_modules()
                if isinstance(module, nn.Conv2d | nn.Linear) and name not in roots
            ],
        )
        pruner.step()
        small.zero_grad()
        macs = count_macs(small, example).macs
        if macs > limit_macs:
            low = ratio
            continue
        if macs >= CLOSE * limit_macs:
            return small
        high, best = ratio, small
    return best
