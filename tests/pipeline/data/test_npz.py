"""Archives: images with labels and perhaps the names of classes, and nothing that runs code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secateur.core.errors import DataError
from secateur.pipeline.data.npz import open_npz
from secateur.pipeline.data.registry import find_source
from tests.pipeline.data.calls import Bomb
from tests.pipeline.data.sources import pixels, write_npz


def test_an_archive_may_name_its_classes(tmp_path: Path) -> None:
    named = open_npz(write_npz(tmp_path / "a.npz", classes=np.array(["a", "b", "c", "d"]))).train
    assert (named.classes, named.numbered) == (("a", "b", "c", "d"), False)
    words = open_npz(write_npz(tmp_path / "b.npz", labels=np.array(["cat", "ant", "bee"] * 5))).train
    assert words.classes == ("ant", "bee", "cat")
    assert words.labels[:3].tolist() == [2, 0, 1]
    with pytest.raises(DataError, match="the label 2, but labels go from 0 to 1"):
        open_npz(write_npz(tmp_path / "c.npz", classes=np.array(["a", "b"])))


def test_a_bad_archive_is_one_sentence(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "x.npz")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cannot read"):
        open_npz(path)
    path.write_text("not an archive")
    with pytest.raises(DataError, match="cannot read"):
        open_npz(path)
    np.savez(path, x=np.arange(4), labels=np.arange(4))
    with pytest.raises(DataError, match="holds x, labels, but needs images and labels"):
        open_npz(path)


def test_objects_in_an_archive_are_never_unpickled(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    np.savez(tmp_path / "x.npz", images=pixels(4), labels=np.array([Bomb(mark)] * 4, dtype=object))
    with pytest.raises(DataError, match="cannot read"):
        open_npz(tmp_path / "x.npz")
    assert not mark.exists()


def test_names_of_classes_keep_their_order(tmp_path: Path) -> None:
    classes = np.array(["class10", "class2", "class1"])
    images = open_npz(write_npz(tmp_path / "x.npz", classes=classes)).train
    assert images.classes == ("class10", "class2", "class1")
    assert images.labels[:4].tolist() == [0, 1, 2, 0]


def test_what_is_recognised(tmp_path: Path) -> None:
    assert find_source(write_npz(tmp_path / "x.npz")).name == "npz"
    (tmp_path / "y.npz").mkdir()
    with pytest.raises(DataError, match="no known format"):
        find_source(tmp_path / "y.npz")
