"""Batches cut into parts of a size that a pass forward and backward can hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from secateur.core.model_inputs import chosen, samples_of
from secateur.pipeline.data.loader import Batches

Found = TypeVar("Found")
LEAST = 8
"""Samples of a part at least: with fewer, sums of outer products cost more than the products."""
HELD_BYTES = 256 << 20
"""What the graph of one part may hold, unless that is less than `LEAST` samples."""


class Parts:
    """The inputs of a loader's batches in parts, in order; a part lies in one batch.

    How many samples a part has is found out when the first one runs (`run`): as many as `HELD_BYTES` hold of what a
    backward pass needs, and `LEAST` or more. So memory grows neither with the images nor with their batches.
    """

    def __init__(self, model: nn.Module, loader: Batches) -> None:
        self.size = LEAST
        self._loader = loader
        self._weights = {tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers())}
        self._measured = False

    def __iter__(self) -> Iterator[Any]:
        for batch, _ in self._loader:
            start, samples = 0, samples_of(batch)
            while start < samples:
                stop = start + self.size
                yield chosen(batch, slice(start, stop))
                start = stop

    def run(self, samples: int, work: Callable[[], Found]) -> Found:
        """What `work` gives, a forward pass of one part."""
        if self._measured:
            return work()
        held: dict[int, int] = {}

        def noted(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if tensor.data_ptr() not in self._weights:
                held[storage.data_ptr()] = storage.nbytes()
            return tensor.detach()

        with torch.autograd.graph.saved_tensors_hooks(noted, lambda tensor: tensor):
            found = work()
        self.size = max(LEAST, HELD_BYTES * samples // max(sum(held.values()), 1))
        self._measured = True
        return found
