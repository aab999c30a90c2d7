"""Formats are found by what a path looks like; other packages add their own."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from secateur.core.errors import DataError
from secateur.pipeline.data.dataset import open_data
from secateur.pipeline.data.images import ArrayImages
from secateur.pipeline.data.registry import SOURCES, Sides, Source, find_source, open_source, register, sources
from secateur.pipeline.data.table import Columns
from secateur.pipeline.data.truths import LabelKind
from tests.pipeline.data.sources import pixels, write_csv


def test_registering_twice_is_an_error() -> None:
    SOURCES.find("digits")
    with pytest.raises(ValueError, match="registered twice"):
        register(Source("digits", "", lambda path: False, lambda path: Sides(open_data("digits").calibration)))


def test_an_unknown_path_lists_the_choices(tmp_path: Path) -> None:
    for path, start in ((tmp_path / "absent", "there is no file or folder"), (tmp_path, "has no known format")):
        with pytest.raises(DataError, match=start) as caught:
            open_data(str(path))
        assert all(source.looks in str(caught.value) for source in sources())
    with pytest.raises(DataError, match="path is empty"):
        open_data("")


def test_sources_are_asked_in_the_order_of_their_rank() -> None:
    assert [source.name for source in sources()] == [
        "digits",
        "cifar10",
        "idx",
        "labels_csv",
        "npz",
        "split_folder",
        "folder",
    ]
    assert {source.name for kind in get_args(LabelKind) for source in sources(kind)} == set(SOURCES.names())


def test_a_new_format_is_asked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SOURCES, "_found", dict(SOURCES._found))
    images = ArrayImages(pixels(6), np.array([0, 1] * 3), ("a", "b"))
    register(Source("mine", "a .mine file", lambda path: path.suffix == ".mine", lambda path: Sides(images)))
    assert find_source(tmp_path / "x.mine").name == "mine"
    assert open_data(str(tmp_path / "x.mine")).classes == ("a", "b")
    with pytest.raises(DataError, match=r"a \.mine file"):
        find_source(tmp_path / "absent")


@pytest.mark.parametrize("labels", ["classes", "numbers", "sets"])
def test_every_table_is_opened_by_the_names_of_its_columns(labels: LabelKind, tmp_path: Path) -> None:
    for part in ("train", "val"):
        folder = write_csv(tmp_path / part)
        text = (folder / "labels.csv").read_text().replace("file,label", "path,class")
        (folder / "labels.csv").write_text(text)
    columns = Columns("path", "class")
    with pytest.raises(DataError, match=r"needs the header|regression needs"):
        open_source(tmp_path, labels)
    sides = open_source(tmp_path, labels, columns)
    assert sides.held_out is not None and len(sides.train) == len(sides.held_out) > 0
    assert sides.train.classes == (("class",) if labels == "numbers" else ("0", "1", "2"))


def test_where_there_is_no_table_no_column_can_be_named() -> None:
    with pytest.raises(DataError, match=r"name columns of a table, but digits is .*: leave them out"):
        open_source(Path("digits"), "classes", Columns(label="class"))
