"""The images of a loader in another order and in other batches, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from secateur.pipeline.data.loader import Batches

HELD = 1024
"""How many images are held at once, out of which the next one is drawn."""


def shuffled(loader: Batches, batch_size: int, seed: tuple[int, ...]) -> Iterator[tuple[Tensor, Tensor]]:
    """The loader's images in batches of `batch_size`, drawn from the next `HELD` of them by the seed."""
    batch: list[tuple[Tensor, Tensor]] = []
    for sample in _drawn(loader, np.random.default_rng(seed)):
        batch.append(sample)
        if len(batch) == batch_size:
            yield _stacked(batch)
            batch = []
    if batch:
        yield _stacked(batch)


def _drawn(loader: Batches, draws: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """The single images, each drawn from those that are held."""
    held: list[tuple[Tensor, Tensor]] = []
    for images, labels in loader:
        for image, label in zip(images, labels, strict=True):
            held.append((image.clone(), label))  # a view would keep its whole batch in memory
            if len(held) > HELD:
                yield _taken(held, draws)
    while held:
        yield _taken(held, draws)


def _taken(held: list[tuple[Tensor, Tensor]], draws: np.random.Generator) -> tuple[Tensor, Tensor]:
    """One of the images, which is no longer held."""
    place = int(draws.integers(len(held)))
    held[place], held[-1] = held[-1], held[place]
    return held.pop()


def _stacked(batch: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    images, labels = zip(*batch, strict=True)
    return torch.stack(images), torch.stack(labels)
