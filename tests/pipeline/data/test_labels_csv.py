"""Tables of files and labels: numbers or names, and every way in which a table can be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur.core.errors import DataError
from secateur.pipeline.data.labels_csv import open_labels_csv
from tests.pipeline.data.sources import write_csv


def test_numbers_are_labels_and_names_are_sorted_classes(tmp_path: Path) -> None:
    numbers = open_labels_csv(write_csv(tmp_path / "numbers")).train
    assert (numbers.classes, numbers.numbered) == (("0", "1", "2"), True)
    assert numbers.labels[:4].tolist() == [0, 1, 2, 0]
    names = open_labels_csv(write_csv(tmp_path / "names", lambda i: "cba"[i]) / "labels.csv").train
    assert (names.classes, names.numbered) == (("a", "b", "c"), False)
    assert names.labels[:4].tolist() == [2, 1, 0, 2]


def test_files_lie_beside_the_table_or_in_images(tmp_path: Path) -> None:
    folder = write_csv(tmp_path)
    (folder / "images" / "0.png").rename(folder / "0.png")
    assert open_labels_csv(folder).train.read(0).size == (8, 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\nabsent.png,0\n", "names the file 'absent.png', which is neither in"),
        ("file,label\n0.png,0\nimages/0.png,1\n", "twice"),
        ("file,label\n", "names no images"),
        ("", "has the columns none"),
        ("name,label\n0.png,0\n", "has the columns name, label, but needs the header file,label"),
        ("0.png,0\n1.png,1\n", "needs the header file,label"),
        ("file,label\n0.png\n", "lacks a file or a label in row 2"),
        ("file,label\n0.png,-1\n", "has the label -1"),
    ],
)
def test_a_bad_table_is_one_sentence(text: str, message: str, tmp_path: Path) -> None:
    folder = write_csv(tmp_path)
    (folder / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        open_labels_csv(folder)


def test_a_table_that_is_not_text_is_refused(tmp_path: Path) -> None:
    folder = write_csv(tmp_path)
    (folder / "labels.csv").write_bytes(b"file,label\n\xff\xfe\x00,1\n")
    with pytest.raises(DataError, match="cannot read"):
        open_labels_csv(folder)
