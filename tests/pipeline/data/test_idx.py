"""IDX files, plain and gzipped, with and without a test part."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from secateur.core.errors import DataError
from secateur.pipeline.data.dataset import open_data
from secateur.pipeline.data.idx import open_idx, read_idx
from tests.pipeline.data.sources import idx_bytes, pixels, write_idx


def test_gzipped_files_hold_the_same(tmp_path: Path) -> None:
    plain = open_data(str(write_idx(tmp_path / "plain")))
    zipped = open_data(str(write_idx(tmp_path / "zipped", zipped=True)))
    assert plain.calibration.fingerprint() == zipped.calibration.fingerprint()
    assert np.array_equal(np.asarray(plain.calibration.read(3)), pixels(12, channels=1, seed=12)[3])
    assert plain.calibration.labels.tolist() == [0, 1, 2] * 4


def test_a_single_file_or_part_has_no_split_of_its_own(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "f")
    one = open_idx(folder / "t10k-images-idx3-ubyte")
    assert (len(one.train), one.held_out) == (6, None)
    for name in ("images-idx3", "labels-idx1"):
        (folder / f"t10k-{name}-ubyte").unlink()
        (folder / f"train-{name}-ubyte").rename(folder / f"train-{name.replace('-', '.')}-ubyte")
    whole = open_idx(folder)
    assert (len(whole.train), whole.held_out) == (12, None)


def test_bad_files_are_one_sentence(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "f")
    images, labels = folder / "train-images-idx3-ubyte", folder / "train-labels-idx1-ubyte"
    good = images.read_bytes()
    for data, message in (
        (good[:-1], "announces 768 bytes of values, but holds 767"),
        (good + b"\0", "holds 769"),
        (good[:10], "is not an IDX file"),
        (b"", "first bytes are missing"),
        (b"\x01\x02" + good[2:], "is not an IDX file"),
    ):
        images.write_bytes(data)
        with pytest.raises(DataError, match=message):
            open_idx(folder)
    images.write_bytes(good)
    labels.write_bytes(idx_bytes(np.zeros(11, dtype=np.uint8)))
    with pytest.raises(DataError, match=r"12 images, but labels of the shape \[11\]"):
        open_idx(folder)
    labels.unlink()
    with pytest.raises(DataError, match="has no label file"):
        open_idx(folder)
    (folder / "more-images-idx3-ubyte").write_bytes(good)
    with pytest.raises(DataError, match="give the path of one of them"):
        open_idx(folder)


def test_a_truncated_gzip_file_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(idx_bytes(pixels(9, channels=1)))[:-30])
    with pytest.raises(DataError, match="cannot read"):
        read_idx(path)
