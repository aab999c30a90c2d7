"""Class maps: timm's own files give timm's labels, and every bad one is one sentence."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from timm.data.readers.reader_image_folder import ReaderImageFolder

from secateur.core.errors import DataError
from secateur.pipeline.data.class_map import find_class_map, read_class_map, with_class_map
from secateur.pipeline.data.dataset import open_data
from secateur.pipeline.data.folder import open_folder
from secateur.pipeline.data.images import ArrayImages, numbered_classes
from secateur.pipeline.data.spec import DataSpec
from tests.pipeline.data.calls import Bomb
from tests.pipeline.data.sources import pixels, write_csv, write_folder, write_images


def write(path: Path, content: str | list[str] | dict[str, object]) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_labels_are_those_of_timms_class_map(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data")
    path = write(tmp_path / "classes.txt", "class_2\n  class_0 \nno_images\n\n")
    theirs = ReaderImageFolder(str(data), class_map=str(path))
    assert len(theirs) == 10  # class_1 is not in the map
    names = read_class_map(path)
    assert names == ("class_2", "class_0", "no_images")
    mine = with_class_map(open_folder(data).train, names, "x")
    assert dict(zip(map(str, mine.paths), mine.labels.tolist(), strict=True)) == dict(theirs.samples)  # type: ignore[attr-defined]


def test_images_of_classes_that_the_map_lacks_are_left_out_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = open_folder(write_folder(tmp_path / "data")).train
    with_class_map(images, ("class_0", "class_1", "class_2"), "x")
    assert not caplog.records
    assert len(with_class_map(images, ("class_2", "class_0"), "classes.txt")) == 10
    assert (
        "5 of 15 images are left out, since classes.txt does not name their classes (1, first 'class_1')" in caplog.text
    )
    with pytest.raises(DataError, match=r"names none of the data's classes \(first 'class_0'; did you mean 'class-0'"):
        with_class_map(images, ("class-0",), "classes.txt")


def test_a_map_gives_numbers_their_names() -> None:
    labels = np.array([0, 2, 1])
    images = ArrayImages(pixels(3), labels, numbered_classes(labels), numbered=True)
    named = with_class_map(images, ("a", "b", "c", "d"), "x")
    assert (named.classes, named.numbered, named.labels.tolist()) == (("a", "b", "c", "d"), False, [0, 2, 1])
    with pytest.raises(DataError, match="x has 2 classes, but the labels go up to 2"):
        with_class_map(images, ("a", "b"), "x")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "b\na", ("b", "a")),
        ("a.TXT", "\ufeffb\r\na\r\n", ("b", "a")),
        ("a.json", ["b", "a"], ("b", "a")),
        ("a.json", {"b": 1, "a": 0}, ("a", "b")),
        ("a.json", {"b": 3, "a": 1}, ("0", "a", "2", "b")),
    ],
)
def test_names_are_in_the_order_of_their_numbers(
    name: str, content: str | list[str] | dict[str, object], expected: tuple[str, ...], tmp_path: Path
) -> None:
    path = write(tmp_path / name, content)
    assert read_class_map(path) == expected
    assert read_class_map(path, 6) == (*expected, *map(str, range(len(expected), 6)))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "b", "ends in '.csv', but a .txt"),
        ("a.txt", "a\n\nb\n", "has no name in line 2"),
        ("a.txt", "a\nb\na\n", "names 'a' twice"),
        ("a.txt", "\n", "names no classes"),
        ("a.json", "{", "cannot read the class map"),
        ("a.json", "[" * 100_000, "cannot read the class map"),
        ("a.json", '{"a": 0, "a": 1}', "the name 'a' stands twice"),
        ("a.json", {"a": 0, "b": 0}, "gives the number 0 to 'a' and 'b'"),
        ("a.json", {"a": 0, "0": 2}, None),
        ("a.json", {"a": 1, "0": 2}, "names '0', which is also the number of a class without a name"),
        ("a.json", {"a": True}, "must hold a list of names, or an object from names to numbers"),
        ("a.json", {"a": -1}, "must hold a list of names"),
        ("a.json", {"0": "a"}, "must hold a list of names"),
        ("a.json", '["a", 1]', "must hold a list of names"),
        ("a.json", {"a": 10**9}, "goes up to the number 1000000000"),
    ],
)
def test_a_bad_map_is_one_sentence(
    name: str, content: str | dict[str, object], message: str | None, tmp_path: Path
) -> None:
    path = write(tmp_path / name, content)
    if message is None:
        assert read_class_map(path) == ("a", "1", "0")
        return
    with pytest.raises(DataError, match=message) as caught:
        read_class_map(path)
    assert "\n" not in str(caught.value)


def test_a_pickle_is_never_read(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(Bomb(tmp_path / "mark")))
    with pytest.raises(DataError, match="a pickle can run code and is not read"):
        read_class_map(tmp_path / "a.pkl")
    assert not (tmp_path / "mark").exists()


def test_a_map_is_looked_for_here_and_beside_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_folder(tmp_path / "data")
    beside = write(data / "classes.txt", "class_2\nclass_1\nclass_0\n")
    monkeypatch.chdir(tmp_path)
    assert find_class_map("classes.txt", [str(data)]) == beside
    here = write(tmp_path / "classes.txt", "class_0\nclass_1\nclass_2\n")
    assert find_class_map("classes.txt", [str(data)]).resolve() == here
    with pytest.raises(DataError, match=r"there is no class map 'absent.txt', neither here nor in .*data: give a file"):
        find_class_map("absent.txt", [str(data)])


def test_both_sides_have_the_classes_of_the_map(tmp_path: Path) -> None:
    for side, names in (("one", ("a", "b", "x")), ("two", ("c", "a"))):
        for name in names:
            write_images(tmp_path / side / name, 1)
    path = write(tmp_path / "classes.txt", "c\nb\na\n")
    spec = DataSpec(calibration=str(tmp_path / "one"), evaluation=str(tmp_path / "two"), class_map=str(path))
    data = open_data(spec)
    assert data.classes == ("c", "b", "a")
    assert data.calibration.labels.tolist() == [2, 1]
    assert data.evaluation.labels.tolist() == [2, 0]
    table = write_csv(tmp_path / "csv", lambda i: "cab"[i])
    data = open_data(DataSpec(path=str(table), class_map=str(path), num_classes=5))
    assert data.classes == ("c", "b", "a", "3", "4")
    assert sorted({*data.calibration.labels.tolist()}) == [0, 1, 2]
