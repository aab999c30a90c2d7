"""Archives and arrays: the accepted layouts and types, and the refused ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.core.errors import DataError
from secateur.pipeline.data.arrays import array_images
from secateur.pipeline.data.npz import open_npz
from tests.pipeline.data.sources import pixels, write_npz

RGB, GREY = pixels(4), pixels(4, channels=1)
LABELS = np.array([0, 1, 2, 1])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (RGB, RGB),
        (RGB.transpose(0, 3, 1, 2), RGB),
        (GREY, GREY),
        (GREY[..., None], GREY),
        (GREY[:, None], GREY),
        (GREY.astype(np.int64), GREY),
        (GREY.astype(np.float32) / 255, GREY),
    ],
)
def test_layouts_and_types_give_the_same_bytes(given: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> None:
    images = array_images(given, LABELS, "x")
    assert np.array_equal(images.pixels, expected)
    assert np.array_equal(np.asarray(images.read(2)), expected[2])


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (RGB, LABELS[:3], r"4 images, but labels of the shape \[3\]"),
        (RGB, LABELS[:, None], "one label an image"),
        (RGB[:0], LABELS[:0], "holds no images"),
        (RGB, LABELS - 1, "has the label -1"),
        (RGB, LABELS.astype(float), "labels of the type float64"),
        (RGB[..., :2], LABELS, r"shape \[4, 8, 8, 2\]"),
        (GREY[0], LABELS.repeat(2), r"shape \[8, 8\]"),
        (GREY.astype(float), LABELS, "float64 pixels from"),
        (np.full((4, 2, 2), np.nan), LABELS, "float64 pixels from nan"),
        (GREY.astype(np.int16) + 200, LABELS, "int16 pixels from"),
    ],
)
def test_what_does_not_fit_is_one_sentence(images: Any, labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        array_images(images, labels, "x")


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
    np.savez(path, x=LABELS, labels=LABELS)
    with pytest.raises(DataError, match="holds x, labels, but needs images and labels"):
        open_npz(path)


class Bomb:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_objects_in_an_archive_are_never_unpickled(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    np.savez(tmp_path / "x.npz", images=RGB, labels=np.array([Bomb(mark)] * 4, dtype=object))
    with pytest.raises(DataError, match="cannot read"):
        open_npz(tmp_path / "x.npz")
    assert not mark.exists()
