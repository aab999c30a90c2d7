"""The images of a loader in another order and in other batches, in bounded memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from secateur.pipeline.errors import DataError

HELD = 1024
"""How many images are held at once, out of which the next one is drawn."""

Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Census:
    """What one pass over a loader's images shows: how many there are, their labels, and a hash of all of them."""

    samples: int
    labels: tuple[int, ...]
    identity: str


def census(loader: Batches) -> Census:
    """The census of a loader; its batch size does not matter. Raises `DataError` without an image."""
    digest, labels = hashlib.sha256(), list[int]()
    for images, batch in loader:
        labels += batch.tolist()
        digest.update(images.contiguous().numpy().tobytes())
    if not labels:
        raise DataError("there are no images to learn masks from: give a data set with at least one")
    digest.update(np.asarray(labels).tobytes())
    return Census(len(labels), tuple(sorted(set(labels))), digest.hexdigest())


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
        for sample in zip(images.clone(), labels, strict=True):
            held.append(sample)
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
