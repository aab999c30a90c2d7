"""The images of a loader in another order and in other batches, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from secateur.core.model_inputs import chosen, joined, map_tensors
from secateur.pipeline.data.loader import Batch, Batches

HELD = 1024
"""How many images are held at once, out of which the next one is drawn."""


def shuffled(loader: Batches, batch_size: int, seed: tuple[int, ...]) -> Iterator[Batch]:
    """The loader's images in batches of `batch_size`, drawn from the next `HELD` of them by the seed."""
    batch: list[Batch] = []
    for sample in _drawn(loader, np.random.default_rng(seed)):
        batch.append(sample)
        if len(batch) == batch_size:
            yield _stacked(batch)
            batch = []
    if batch:
        yield _stacked(batch)


def _drawn(loader: Batches, draws: np.random.Generator) -> Iterator[Batch]:
    """The single images, each drawn from those that are held."""
    held: list[Batch] = []
    for images, labels in loader:
        for place, label in enumerate(labels):
            # a view would keep its whole batch in memory
            held.append((map_tensors(Tensor.clone, chosen(images, slice(place, place + 1))), label))
            if len(held) > HELD:
                yield _taken(held, draws)
    while held:
        yield _taken(held, draws)


def _taken(held: list[Batch], draws: np.random.Generator) -> Batch:
    """One of the images, which is no longer held."""
    place = int(draws.integers(len(held)))
    held[place], held[-1] = held[-1], held[place]
    return held.pop()


def _stacked(batch: list[Batch]) -> Batch:
    images, labels = zip(*batch, strict=True)
    return joined(images), torch.stack(labels)
