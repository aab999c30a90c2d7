"""Front to back: the layers of a pruned transformer refitted on the stream that the pruned model itself carries."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from timm.layers import LayerScale
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from secateur.core.modules import frozen
from secateur.pipeline.data.loader import Batches
from secateur.pipeline.recover.report import Repair
from secateur.pipeline.recover.stream_fit import RIDGES, choose
from secateur.pipeline.statistics.capture import observed
from secateur.pipeline.statistics.moments import Moments
from secateur.pipeline.structure.groups import Site

FOLDS = 2
CLASS_TOKEN_WEIGHT = 10.0
"""How much more the class token counts than another token, where the prediction is read from it."""


@dataclass(frozen=True)
class Branch:
    """A branch of a residual block: the layer that ends it, the module that reads the stream before it, its scale."""

    layer: str
    stream: str
    scale: str


BRANCHES = (Branch("attn.proj", "norm1", "ls1"), Branch("mlp.fc2", "norm2", "ls2"))


def follow(small: nn.Module, dense: nn.Module, layers: Collection[str], loader: Batches) -> tuple[Repair, ...]:
    """Refits those of `layers` that end a branch of `dense.blocks`, in place and in order; says what was done.

    The inputs are those of the pruned model, so that a layer also makes up for what the layers before it have lost:
    the target is the dense model's residual stream behind the branch, less the pruned model's before it. The ridge
    pulls towards the weights that are there, so that few images change little; it is chosen by images held out
    (`stream_fit.choose`). Streams are kept in temporary files. Nothing is done to models that are no plain chain of
    timm's `Block`, or whose residual width was cut.
    """
    blocks, places = _chain(dense), _chain(small)
    wanted = [number for number in range(len(blocks)) for b in BRANCHES if f"blocks.{number}.{b.layer}" in layers]
    same = [getattr(block.norm1, "normalized_shape", None) for block in (*blocks[:1], *places[:1])]
    if not wanted or len(blocks) != len(places) or same[0] != same[-1]:
        return ()
    first_token = CLASS_TOKEN_WEIGHT if getattr(dense, "global_pool", "") == "token" else 1.0
    repairs = []
    with tempfile.TemporaryDirectory() as folder, frozen(dense), frozen(small), torch.no_grad():
        streams = Streams.read(dense, loader, Path(folder))
        if streams is None:
            return ()
        for number in range(max(wanted) + 1):
            for branch in BRANCHES:
                if f"blocks.{number}.{branch.layer}" in layers:
                    found = _refit(blocks[number], places[number], branch, streams, first_token)
                    repairs.append(Repair(f"blocks.{number}.{branch.layer}", *found))
            streams.advance(blocks[number], places[number])
    return tuple(repairs)


class Streams:
    """The residual streams of the dense and the pruned model before one block, batch by batch, in files."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.dense: list[NDArray[np.float32]] = []
        self.pruned: list[NDArray[np.float32]] = []
        self._folder = folder
        self._device = device

    @staticmethod
    def read(model: nn.Module, loader: Batches, folder: Path) -> Streams | None:
        """The streams before the first block, equal in both models; None where the model is more than a chain."""
        device = next(model.parameters()).device
        streams = Streams(folder, device)
        first, last = _chain(model)[0], _chain(model)[-1]
        names = {module: name for name, module in model.named_modules()}
        ends = [Site(names[first], "input", -1, ()), Site(names[last], "output", -1, ())]
        with observed(model, ends) as values:
            for number, (images, _) in enumerate(loader):
                model(images.to(device))
                x, end = values[names[first], "input"], values[names[last], "output"]
                if number == 0:
                    y = x
                    for block in _chain(model):
                        y = block(y)
                    if not torch.allclose(y, end, rtol=1e-3, atol=1e-3):
                        return None
                streams._keep(streams.dense, f"dense{number}", x)
                streams._keep(streams.pruned, f"pruned{number}", x)
        return streams

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for x, z in zip(self.dense, self.pruned, strict=True):
            yield torch.from_numpy(np.array(x)).to(self._device), torch.from_numpy(np.array(z)).to(self._device)

    def advance(self, dense: nn.Module, pruned: nn.Module) -> None:
        """Takes both streams through one block."""
        for number, (x, z) in enumerate(self):
            self.dense[number][:] = dense(x).cpu().numpy()
            self.pruned[number][:] = pruned(z).cpu().numpy()

    def _keep(self, into: list[NDArray[np.float32]], name: str, x: Tensor) -> None:
        file = np.memmap(self._folder / name, dtype=np.float32, mode="w+", shape=tuple(x.shape))
        file[:] = x.cpu().numpy()
        into.append(file)


def _chain(model: nn.Module) -> list[Block]:
    """The blocks of a model that are one plain chain, or none."""
    blocks = getattr(model, "blocks", None)
    chain = [block for block in blocks if isinstance(block, Block)] if isinstance(blocks, nn.Sequential) else []
    return chain if isinstance(blocks, nn.Sequential) and len(chain) == len(blocks) else []


def _refit(
    dense: nn.Module, pruned: nn.Module, branch: Branch, streams: Streams, first_token: float
) -> tuple[str, float | None, float, float]:
    """Refits the layer that ends one branch of one block; returns the rest of a `Repair`."""
    layer = pruned.get_submodule(branch.layer)
    if not isinstance(layer, nn.Linear):
        return ("none", None, 0.0, 0.0)  # a branch that lost everything
    scale = dense.get_submodule(branch.scale)
    gamma = scale.gamma if isinstance(scale, LayerScale) else torch.ones(1, device=layer.weight.device)
    inverse = torch.where(gamma == 0, 0, 1 / gamma)
    behind = Site("norm2", "input", -1, ()) if branch.stream == "norm1" else None
    sites = [Site(branch.layer, "input", -1, ()), Site(branch.stream, "input", -1, ())]
    width = layer.in_features + layer.out_features
    folds = [Moments.empty(width, layer.weight.device) for _ in range(FOLDS)]
    samples = 0
    with observed(dense, [behind] if behind else []) as goal, observed(pruned, sites) as values:
        for x, z in streams:
            out = dense(x)
            pruned(z)
            target = (goal["norm2", "input"] if behind else out) - values[branch.stream, "input"]
            rows = torch.cat([values[branch.layer, "input"], target * inverse], dim=2)
            weights = rows.new_ones(rows.shape[:2])
            weights[:, 0] = first_token
            turn = (torch.arange(len(rows)) + samples) % FOLDS
            samples += len(rows)
            for place, moments in enumerate(folds):
                moments.add(rows[turn == place], weights[turn == place])
    bias = layer.bias.double() if layer.bias is not None else None
    chosen = choose(layer.weight.double(), bias, folds, RIDGES)
    if chosen.ridge is not None:
        layer.weight.copy_(chosen.weight)
        if layer.bias is not None and chosen.bias is not None:
            layer.bias.copy_(chosen.bias)
    return ("stream" if chosen.ridge is not None else "none", chosen.ridge, chosen.error_before, chosen.error_after)
