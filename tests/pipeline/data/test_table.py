"""Tables of labels: where they are, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur.core.errors import DataError
from secateur.pipeline.data.table import Columns, image_beside, is_table, once, read_table, table_of


def test_a_folder_with_a_table_or_the_table_is_one(tmp_path: Path) -> None:
    assert not is_table(tmp_path)
    table = tmp_path / "labels.csv"
    table.write_text("\ufefffile, label\na.png, 1\n", encoding="utf-8")
    assert is_table(tmp_path) and is_table(table)
    assert table_of(tmp_path) == table_of(table) == table
    assert read_table(table, "file,label") == (["file", "label"], [{"file": "a.png", "label": "1"}])


def test_columns_may_have_other_names_in_a_table_of_any_name(tmp_path: Path) -> None:
    table = tmp_path / "train.csv"
    table.write_text("label,class,path\nno,1,a.png\n")
    assert is_table(table) and table_of(table) == table and not is_table(tmp_path)
    found = read_table(table, "file,label", Columns("path", "class"))
    assert found == (["file", "label"], [{"file": "a.png", "label": "1"}])
    assert read_table(table, "file,(numbers)", Columns("path"))[0] == ["file", "label", "class"]
    with pytest.raises(DataError, match=r"needs the header path,group; data.file_column and data.label_column say"):
        read_table(table, "file,label", Columns("path", "group"))


def test_images_lie_beside_the_table_and_come_once(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").touch()
    table = tmp_path / "labels.csv"
    found = image_beside(table, "a.png")
    assert found == tmp_path / "images" / "a.png"
    with pytest.raises(DataError, match=r"names the file 'b\.png', which is neither in"):
        image_beside(table, "b.png")
    assert once([found], ["a.png"], table) == [found]
    with pytest.raises(DataError, match=r"'images/a\.png' twice"):
        once([found, tmp_path / "images" / ".." / "images" / "a.png"], ["a.png", "images/a.png"], table)


@pytest.mark.parametrize(
    ("text", "message"), [("name,label\n", "needs the header file,label"), ("file,label\n", "names no images")]
)
def test_a_table_without_its_columns_or_rows_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / "labels.csv", "file,label")
