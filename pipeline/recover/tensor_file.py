"""A tensor in a temporary file, whose memory is free between one use and the next."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from secateur.core.errors import RunError

BYTES = torch.float32.itemsize
CHUNK = 1 << 20


class TensorFile:
    """A file for tensors of up to `values` numbers, one at a time, in float32.

    It is read and written, not mapped: its pages are no memory of this process, and a full disk is an error and not
    the end of the process. The room is taken when it is made; `RunError` says how much is missing where there is none.
    """

    def __init__(self, path: Path, values: int) -> None:
        self._path = path
        self._shape: torch.Size | None = None
        try:
            with path.open("wb") as file:
                _take_room(file, max(values, 1) * BYTES)
        except OSError as error:
            raise self._full(error) from error

    def write(self, tensor: Tensor) -> None:
        """Keeps a tensor instead of the one before."""
        self._shape = tensor.shape
        data = tensor.detach().to("cpu", torch.float32).contiguous().numpy()
        try:
            with self._path.open("r+b", buffering=0) as file:
                left = data.ravel().view(np.uint8).data
                while len(left):
                    left = left[file.write(left) :]
        except OSError as error:
            raise self._full(error) from error

    def read(self) -> Tensor:
        """The tensor that was written last, on the CPU."""
        assert self._shape is not None  # for the type checker: nothing is read before it is written
        found = np.fromfile(self._path, np.float32, self._shape.numel())
        return torch.from_numpy(found).reshape(self._shape)

    def _full(self, error: OSError) -> RunError:
        return RunError(
            f"the images' features do not fit into the temporary folder {self._path.parent.parent} "
            f"({error.strerror or error}): free some space, name a larger folder with the environment variable TMPDIR, "
            "or repair from fewer images"
        )


def _take_room(file: BinaryIO, size: int) -> None:
    """Takes `size` bytes of the disk for a new file; by writing them where the system has no other way (macOS)."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    for start in range(0, size, CHUNK):
        file.write(bytes(min(CHUNK, size - start)))
