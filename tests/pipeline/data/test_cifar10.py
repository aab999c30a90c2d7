"""CIFAR-10 batches: read without running their pickles, and one sentence for every damaged one."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.core.errors import DataError
from secateur.pipeline.data.cifar10 import batch_folder, open_cifar10
from secateur.pipeline.data.registry import find_source
from tests.pipeline.data.calls import Calls
from tests.pipeline.data.sources import pixels, write_cifar10


def test_cifar10_batches_of_every_protocol_are_read(tmp_path: Path) -> None:
    for protocol in (0, 2, 5):
        sides = open_cifar10(write_cifar10(tmp_path / str(protocol) / "cifar-10-batches-py", protocol).parent)
        assert np.array_equal(np.asarray(sides.train.read(23)), pixels(20, 32, seed=1)[3])
        assert sides.train.labels[:12].tolist() == [*range(10), 0, 1]
        assert sides.train.classes[3] == "cat"
        assert sides.held_out is not None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({b"data": pixels(2, 32).reshape(2, -1), b"labels": [1]}, r"2 images, but labels of the shape \[1\]"),
        ({b"data": pixels(2, 32), b"labels": [1, 2]}, "is no CIFAR-10 batch"),
        ({b"labels": [1, 2]}, "is no CIFAR-10 batch"),
        ([1, 2], "is no CIFAR-10 batch"),
        ({b"data": pixels(2, 32).reshape(2, -1), b"labels": [1, 10]}, "the label 10, but labels go from 0 to 9"),
        (Calls(os.mkdir, "x"), r"asks for \w+.mkdir"),
    ],
)
def test_a_bad_batch_is_one_sentence(content: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=message):
        open_cifar10(tmp_path)


def test_a_truncated_batch_is_one_sentence(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path / "f")
    whole = (folder / "data_batch_1").read_bytes()
    for part in (whole[:1000], b"", b"garbage"):
        (folder / "data_batch_1").write_bytes(part)
        with pytest.raises(DataError, match="cannot read the CIFAR-10 batch"):
            open_cifar10(folder)


def test_batches_lie_in_the_folder_or_in_the_archives_folder(tmp_path: Path) -> None:
    inner = write_cifar10(tmp_path / "cifar-10-batches-py", test=False)
    assert batch_folder(tmp_path) == batch_folder(inner) == inner
    assert batch_folder(tmp_path / "absent") is None
    assert open_cifar10(tmp_path).held_out is None
    assert find_source(tmp_path).name == "cifar10"
