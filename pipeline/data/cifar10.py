"""The source `cifar10`: the python version of CIFAR-10, batches of 32 x 32 RGB images in pickles."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.core.errors import DataError
from secateur.pipeline.data.arrays import array_images
from secateur.pipeline.data.images import ArrayImages
from secateur.pipeline.data.plain_pickle import read_plain_pickle
from secateur.pipeline.data.registry import Sides, Source, register

INNER = "cifar-10-batches-py"  # the folder in the archive that its authors publish
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def batch_folder(path: Path) -> Path | None:
    """The folder that holds the batches: the path itself or the published archive's folder in it."""
    return next((p for p in (path, path / INNER) if p.is_dir() and any(p.glob("data_batch_[0-9]"))), None)


def open_cifar10(path: Path) -> Sides:
    """The images of all `data_batch_*`, and those of `test_batch` as held-out ones where it exists."""
    folder = batch_folder(path) or path
    train = _joined(sorted(folder.glob("data_batch_[0-9]")))
    test = folder / "test_batch"
    return Sides(train, _joined([test]) if test.is_file() else None)


def _joined(files: list[Path]) -> ArrayImages:
    batches = [_batch(file) for file in files]
    pixels = np.concatenate([pixels for pixels, _ in batches])
    labels = np.concatenate([labels for _, labels in batches])
    return array_images(pixels, labels, str(files[0]), CLASSES)


def _batch(file: Path) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Pixels `[N, 32, 32, 3]` and labels `[N]` of one batch; its pickle is read without running code."""
    try:
        content = read_plain_pickle(file)
    except (OSError, pickle.UnpicklingError) as error:
        raise DataError(f"cannot read the CIFAR-10 batch {file}: {error}; download the archive again") from error
    if isinstance(content, dict):
        content = {key.decode("latin-1") if isinstance(key, bytes) else key: value for key, value in content.items()}
    data = content.get("data") if isinstance(content, dict) else None
    labels = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (3072,) or labels is None:
        raise DataError(f"{file} is no CIFAR-10 batch: data [N, 3072] of bytes and labels are needed")
    try:
        numbers = np.asarray(labels)
    except ValueError as error:  # lists of several lengths
        raise DataError(f"{file} is no CIFAR-10 batch: its labels are no list of numbers ({error})") from error
    if numbers.shape != (len(data),):
        raise DataError(f"{file} holds {len(data)} images, but labels of the shape {list(numbers.shape)}")
    return data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), numbers


register(Source("cifar10", "the CIFAR-10 python batches", lambda path: batch_folder(path) is not None, open_cifar10))
