"""The residual streams of the dense and the pruned model of a plain chain of blocks, kept in files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from secateur.core.model_inputs import call, moved
from secateur.core.modules import device_of
from secateur.pipeline.data.loader import Batches
from secateur.pipeline.statistics.capture import observed
from secateur.pipeline.structure.groups import Site


class ResidualStreams:
    """The residual streams of both models before one block, batch by batch, `[B, N, width]` in their precision."""

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype) -> None:
        self.dense: list[NDArray[np.float32]] = []
        self.pruned: list[NDArray[np.float32]] = []
        self._folder = folder
        self._device = device
        self._dtype = dtype

    @staticmethod
    def read(model: nn.Module, loader: Batches, folder: Path) -> ResidualStreams | None:
        """The streams before the first block, equal in both models; None where the model is more than a chain."""
        device = device_of(model)
        streams = ResidualStreams(folder, device, next(model.parameters()).dtype)
        first, last = chain_of(model)[0], chain_of(model)[-1]
        names = {module: name for name, module in model.named_modules()}
        ends = [Site(names[first], "input", -1, ()), Site(names[last], "output", -1, ())]
        with observed(model, ends) as values:
            for number, (images, _) in enumerate(loader):
                call(model, moved(images, device))
                x, end = values[names[first], "input"], values[names[last], "output"]
                if number == 0:
                    y = x
                    for block in chain_of(model):
                        y = block(y)
                    if not torch.allclose(y, end, rtol=1e-3, atol=1e-3):
                        return None
                streams._keep(streams.dense, f"dense{number}", x)
                streams._keep(streams.pruned, f"pruned{number}", x)
        return streams

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for x, z in zip(self.dense, self.pruned, strict=True):
            dense, pruned = (torch.from_numpy(np.array(part)).to(self._device, self._dtype) for part in (x, z))
            yield dense, pruned

    def advance(self, dense: nn.Module, pruned: nn.Module) -> None:
        """Takes both streams through one block."""
        for number, (x, z) in enumerate(self):
            self.dense[number][:] = dense(x).float().cpu().numpy()
            self.pruned[number][:] = pruned(z).float().cpu().numpy()

    def _keep(self, into: list[NDArray[np.float32]], name: str, x: Tensor) -> None:
        file = np.memmap(self._folder / name, dtype=np.float32, mode="w+", shape=tuple(x.shape))
        file[:] = x.float().cpu().numpy()
        into.append(file)


def chain_of(model: nn.Module) -> list[Block]:
    """The blocks of a model that are one plain chain of timm's `Block`, or none."""
    blocks = getattr(model, "blocks", None)
    chain = [block for block in blocks if isinstance(block, Block)] if isinstance(blocks, nn.Sequential) else []
    return chain if isinstance(blocks, nn.Sequential) and len(chain) == len(blocks) else []
