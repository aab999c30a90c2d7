"""The residual streams of the dense and the pruned model of a plain chain of blocks, kept in files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from secateur.core.model_inputs import call, moved
from secateur.core.modules import device_of
from secateur.pipeline.data.loader import Batches
from secateur.pipeline.recover.branches import run_in_parts
from secateur.pipeline.recover.tensor_file import TensorFile
from secateur.pipeline.statistics.capture import observed
from secateur.pipeline.structure.groups import Site

KINDS = ("dense", "middle", "pruned")
Step = Callable[[Tensor, Callable[[], Tensor]], Tensor]
"""What takes a batch's residual stream further, from it and from how what was held of the batch is read."""


class ResidualStreams:
    """The residual streams of both models, batch by batch, `[B, N, width]` in their precision.

    `dense` yields that of the dense model before a block, and takes what it is behind it; in between, its `middle` is
    kept: that between the two branches. `pruned` yields that of the pruned model, after the steps that are due.
    """

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype, widest: int) -> None:
        self.samples: list[int] = []
        self._widest = widest
        self._folder = folder
        self._place = device, dtype
        self._files: dict[str, list[TensorFile]] = {kind: [] for kind in (*KINDS, "held")}
        self._due: list[Step] = []

    @staticmethod
    def read(model: nn.Module, loader: Batches, folder: Path, widest: int = 0) -> ResidualStreams | None:
        """The streams before the first block, equal in both models; None where the model is more than a chain.

        Of each token, up to `widest` features can be held. Raises `RunError` where the folder has no room.
        """
        device = device_of(model)
        streams = ResidualStreams(folder, device, next(model.parameters()).dtype, widest)
        first, last = chain_of(model)[0], chain_of(model)[-1]
        names = {module: name for name, module in model.named_modules()}
        ends = [Site(names[first], "input", -1, ()), Site(names[last], "output", -1, ())]
        with observed(model, ends) as values:
            for images, _ in loader:
                if streams.samples:
                    _run_to(first, model, moved(images, device))
                    streams._keep(values[ends[0].key])
                    continue
                call(model, moved(images, device))
                x, end = (values[site.key] for site in ends)
                y = x
                for block in chain_of(model):
                    y = run_in_parts(block, y)
                if not torch.allclose(y, end, rtol=1e-3, atol=1e-3):
                    return None
                streams._keep(x)
        return streams

    def dense(self) -> Iterator[tuple[int, Tensor]]:
        """The batches' places, and the dense model's stream before the block that is next."""
        for place in range(len(self.samples)):
            yield place, self.of("dense", place)

    def pruned(self) -> Iterator[tuple[int, Tensor]]:
        """The batches' places, and the pruned model's stream after all steps that were due."""
        due, self._due = self._due, []
        for place in range(len(self.samples)):
            z = self.of("pruned", place)
            for step in due:
                z = step(z, lambda place=place: self.of("held", place))  # type: ignore[misc]  # the place is bound
            if due:
                self.keep("pruned", place, z)
            yield place, z

    def then(self, step: Step) -> None:
        """Makes a step due, which takes the pruned model's stream further the next time that it is read."""
        self._due.append(step)

    def of(self, kind: str, place: int) -> Tensor:
        """The tensor of one batch: a stream, or what was held of it."""
        return self._files[kind][place].read().to(*self._place)

    def keep(self, kind: str, place: int, tensor: Tensor) -> None:
        """Puts a tensor into the place of the one before."""
        self._files[kind][place].write(tensor)

    def _keep(self, x: Tensor) -> None:
        """Takes in one batch's stream before the first block."""
        place = len(self.samples)
        self.samples.append(len(x))
        for kind, files in self._files.items():
            values = x.numel() if kind in KINDS else x.numel() // x.shape[-1] * self._widest
            files.append(TensorFile(self._folder / f"{kind}{place}", values))
        for kind in ("dense", "pruned"):
            self.keep(kind, place, x)


class _ReachedError(Exception):
    """A forward pass has come to where it is to end."""


def _run_to(block: nn.Module, model: nn.Module, inputs: Any) -> None:
    """Runs a model as far as one of its blocks, whose input is seen on the way."""

    def end(_module: nn.Module, _args: Any) -> None:
        raise _ReachedError

    handle = block.register_forward_pre_hook(end)
    try:
        call(model, inputs)
    except _ReachedError:
        return
    finally:
        handle.remove()


def chain_of(model: nn.Module) -> list[Block]:
    """The blocks of a model that are one plain chain of timm's `Block`, or none."""
    blocks = getattr(model, "blocks", None)
    chain = [block for block in blocks if isinstance(block, Block)] if isinstance(blocks, nn.Sequential) else []
    return chain if isinstance(blocks, nn.Sequential) and len(chain) == len(blocks) else []
