"""Images with any number of labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur.core.errors import DataError
from secateur.pipeline.data.dataset import open_data
from secateur.pipeline.data.sets_csv import open_sets_csv
from secateur.pipeline.data.spec import DataSpec
from tests.pipeline.tasks.small_tasks import write_sets


def test_labels_of_cells_and_rows_come_together(tmp_path: Path) -> None:
    images = open_sets_csv(write_sets(tmp_path)).train
    assert (len(images), images.classes) == (15, ("cat", "dog", "mouse"))
    assert images.truths is not None
    rows = [images.truths.read(i, (1, 1)).tolist() for i in range(5)]
    assert rows == [[1, 1, 0], [1, 0, 1], [0, 0, 0], [0, 0, 1], [0, 1, 1]]


def test_a_list_of_classes_decides_their_order(tmp_path: Path) -> None:
    write_sets(tmp_path)
    (tmp_path / "classes.txt").write_text("mouse\nhorse\ncat\ndog\n")
    images = open_sets_csv(tmp_path).train
    assert images.classes == ("mouse", "horse", "cat", "dog")
    assert images.truths is not None and images.truths.read(0, (1, 1)).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("text", "classes", "message"),
    [
        ("file,label\n0.png,cat\n", "dog\n", "'cat', which is not in classes.txt"),
        ("file,label\n0.png,\n", "", "gives no image any label"),
        ("file,label\n,cat\n", "", "lacks a file in row 2"),
        ("file,label\n0.png,cat\n", "cat\ncat\n", "names 'cat' twice"),
    ],
)
def test_a_bad_table_is_one_sentence(text: str, classes: str, message: str, tmp_path: Path) -> None:
    write_sets(tmp_path)
    (tmp_path / "labels.csv").write_text(text)
    if classes:
        (tmp_path / "classes.txt").write_text(classes)
    with pytest.raises(DataError, match=message):
        open_sets_csv(tmp_path)


def test_a_class_map_is_for_single_classes(tmp_path: Path) -> None:
    write_sets(tmp_path)
    (tmp_path / "map.txt").write_text("cat\ndog\nmouse\n")
    with pytest.raises(DataError, match="the labels are sets: leave it out"):
        open_data(DataSpec(path=str(tmp_path), class_map=str(tmp_path / "map.txt")), labels="sets")
