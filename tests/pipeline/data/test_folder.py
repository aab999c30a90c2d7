"""Folders of classes: what counts as a class and what as an image."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur.core.errors import DataError
from secateur.pipeline.data.folder import class_folders, image_files, open_folder, recognises
from tests.pipeline.data.sources import write_folder, write_images


def test_images_are_labelled_by_their_folder_in_the_order_of_paths(tmp_path: Path) -> None:
    images = open_folder(write_folder(tmp_path)).train
    assert images.classes == ("class_0", "class_1", "class_2")
    assert not images.numbered
    assert images.labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert [path.name for path in images.paths[:5]] == [f"{i}.png" for i in range(5)]  # type: ignore[attr-defined]


def test_the_folder_that_an_image_lies_in_is_its_class_at_any_depth(tmp_path: Path) -> None:
    for place in ("animals/cat", "animals/dog", "plants/oak", "plants"):
        write_images(tmp_path / place, 1)
    assert open_folder(tmp_path).train.classes == ("cat", "dog", "oak", "plants")


def test_folders_of_one_name_are_no_classes(tmp_path: Path) -> None:
    for place in ("cat/images", "dog/images", "dog/images/images"):  # Tiny ImageNet's layout
        write_images(tmp_path / place, 1)
    images = open_folder(tmp_path).train
    assert (images.classes, images.labels.tolist()) == (("cat", "dog"), [0, 1, 1])


def test_hidden_folders_and_other_files_do_not_count(tmp_path: Path) -> None:
    write_folder(tmp_path)
    for place in (".thumbs", "__MACOSX/class_0", "class_0/.cache"):
        write_images(tmp_path / place, 1)
    (tmp_path / "class_1" / "notes.txt").write_text("no image")
    (tmp_path / "class_1" / "._0.png").write_text("no image")
    (tmp_path / "class_1" / "folder.png").mkdir()
    images = open_folder(tmp_path).train
    assert len(images) == 15
    assert images.classes == ("class_0", "class_1", "class_2")
    assert [folder.name for folder in class_folders(tmp_path)] == ["class_0", "class_1", "class_2"]


def test_links_are_followed_once(tmp_path: Path) -> None:
    write_images(tmp_path / "far", 2)
    write_images(tmp_path / "data" / "cat", 1)
    (tmp_path / "data" / "cat" / "dog").symlink_to(tmp_path / "far")
    (tmp_path / "data" / "cat" / "up").symlink_to(tmp_path / "data" / "cat")
    found = list(image_files(tmp_path / "data" / "cat"))
    assert len(found) == 3
    assert open_folder(tmp_path / "data").train.classes == ("cat", "dog")


def test_a_folder_without_images_is_no_class(tmp_path: Path) -> None:
    (write_folder(tmp_path) / "class_9").mkdir()
    with pytest.raises(DataError, match=r"class folder .*class_9 holds no images: add some or remove the folder"):
        open_folder(tmp_path)


def test_what_is_recognised(tmp_path: Path) -> None:
    assert not recognises(tmp_path)
    (tmp_path / ".git").mkdir()
    assert not recognises(tmp_path)
    assert not recognises(tmp_path / "absent")
    (tmp_path / "cat").mkdir()
    assert recognises(tmp_path)
