"""What is true of images: rows of numbers, and strata by the rarest class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secateur.core.errors import DataError
from secateur.pipeline.data.images import ArrayImages
from secateur.pipeline.data.truths import Rows, class_list, rarest


def test_rows_go_with_their_images() -> None:
    truths = Rows(np.arange(6, dtype=np.float32).reshape(3, 2), np.array([0, 0, 1]))
    images = ArrayImages(np.zeros((3, 4, 4), dtype=np.uint8), np.zeros(3, dtype=np.int64), ("a", "b"), truths=truths)
    assert images.labels.tolist() == [0, 0, 1]
    part = images.subset([2, 0])
    assert part.truths is not None
    assert [part.truths.read(i, (4, 4)).tolist() for i in range(2)] == [[4, 5], [0, 1]]
    assert part.labels.tolist() == [1, 0]
    assert part.relabelled(("a", "b")).truths is part.truths
    assert truths.digest(0) != truths.digest(1)


def test_the_rarest_class_of_an_image_is_its_stratum() -> None:
    there = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 1], [0, 0, 0]], dtype=np.bool_)
    assert rarest(there).tolist() == [1, 0, 2, 3]


def test_a_list_of_classes_is_read_or_refused(tmp_path: Path) -> None:
    assert class_list(tmp_path) == ()
    path = tmp_path / "classes.txt"
    path.write_text("road\n\ncar\n")
    assert class_list(tmp_path) == ("road", "car")
    for text, message in (("", "names no class"), ("a\na\n", "'a' twice")):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            class_list(tmp_path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot read"):
        class_list(tmp_path)
