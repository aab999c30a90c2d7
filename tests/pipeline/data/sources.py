"""Small data sources of every format, written to disk for the tests."""

from __future__ import annotations

import gzip
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CLASSES, PER_CLASS = 3, 5


def pixels(count: int, size: int = 8, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    """Random images `[count, size, size(, 3)]`."""
    shape = (count, size, size, 3) if channels == 3 else (count, size, size)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def write_images(folder: Path, count: int, seed: int = 0) -> Path:
    """Images `0.png` and so on, which differ from folder to folder."""
    folder.mkdir(parents=True, exist_ok=True)
    salt = zlib.crc32(str(folder).encode())
    for i, image in enumerate(pixels(count, seed=seed * 1000 + salt)):
        Image.fromarray(image).save(folder / f"{i}.png")
    return folder


def write_folder(folder: Path, seed: int = 0) -> Path:
    """A folder of class folders."""
    for label in range(CLASSES):
        place = folder / f"class_{label}"
        place.mkdir(parents=True)
        for i, image in enumerate(pixels(PER_CLASS, seed=seed * 100 + label)):
            Image.fromarray(image).save(place / f"{i}.png")
    return folder


def write_split_folder(folder: Path) -> Path:
    """A folder with train/ and val/."""
    write_folder(folder / "train", 1)
    write_folder(folder / "val", 2)
    return folder


def write_csv(folder: Path, label: Callable[[int], str] = str, seed: int = 0) -> Path:
    """A folder of images with labels.csv."""
    (folder / "images").mkdir(parents=True)
    rows = ["file,label"]
    for i, image in enumerate(pixels(CLASSES * PER_CLASS, seed=seed)):
        Image.fromarray(image).save(folder / "images" / f"{i}.png")
        rows.append(f"{i}.png,{label(i % CLASSES)}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def write_cifar10(folder: Path, protocol: int = 2, test: bool = True) -> Path:
    """CIFAR-10 python batches, 20 images each."""
    folder.mkdir(parents=True)
    for number, name in enumerate(["data_batch_1", "data_batch_2", *(["test_batch"] if test else [])]):
        data = pixels(20, 32, seed=number).transpose(0, 3, 1, 2).reshape(20, -1)
        batch = {b"data": data, b"labels": [i % 10 for i in range(20)], b"batch_label": name.encode()}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=protocol))
    return folder


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    """An array as an IDX file."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(folder: Path, zipped: bool = False) -> Path:
    """MNIST's four files, 12 and 6 images."""
    folder.mkdir(parents=True)
    for part, count in (("train", 12), ("t10k", 6)):
        labels = (np.arange(count) % CLASSES).astype(np.uint8)
        for name, array in (("images-idx3", pixels(count, channels=1, seed=count)), ("labels-idx1", labels)):
            data = idx_bytes(array)
            path = folder / f"{part}-{name}-ubyte{'.gz' if zipped else ''}"
            path.write_bytes(gzip.compress(data) if zipped else data)
    return folder


def write_npz(path: Path, seed: int = 0, **extra: NDArray[np.generic]) -> Path:
    """An archive with images and labels."""
    labels = np.arange(CLASSES * PER_CLASS) % CLASSES
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{"images": pixels(len(labels), seed=seed), "labels": labels, **extra})  # type: ignore[arg-type]  # numpy's stub takes **kwargs for allow_pickle
    return path
