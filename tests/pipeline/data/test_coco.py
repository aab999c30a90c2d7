"""COCO annotations: boxes in pixels of the input, places of images, and files that are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from secateur.core.errors import DataError
from secateur.pipeline.data.coco import open_coco, recognises
from secateur.pipeline.data.dataset import open_data
from tests.pipeline.tasks.small_tasks import write_boxes


def test_boxes_are_read_in_pixels_of_the_input(tmp_path: Path) -> None:
    images = open_coco(write_boxes(tmp_path)).train
    assert (len(images), images.classes) == (15, ("cat", "dog"))
    assert images.truths is not None
    rows = images.truths.read(5, (32, 8))
    assert rows.tolist() == [[0, 0, 4, 2, 20, 0], [1, 0.5, 4, 2.5, 20, 0]]
    assert images.truths.read(0, (16, 16)).tolist() == [[-1] * 6] * 2
    assert images.labels[:3].tolist() == [2, 0, 1]


def test_both_sides_have_the_classes_and_a_crowd_is_marked(tmp_path: Path) -> None:
    file = write_boxes(tmp_path) / "instances.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["iscrowd"] = 1
    file.write_text(json.dumps(content))
    data = open_data(str(file), labels="boxes")
    assert data.calibration.classes == data.evaluation.classes == ("cat", "dog")
    truths = open_coco(file).train.truths
    assert truths is not None and truths.read(1, (16, 16))[0, 5] == 1


def test_images_lie_where_coco_puts_them(tmp_path: Path) -> None:
    write_boxes(tmp_path)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "instances.json").rename(tmp_path / "annotations" / "instances_train2017.json")
    (tmp_path / "images").rename(tmp_path / "train2017")
    assert not recognises(tmp_path) and recognises(tmp_path / "annotations")
    assert len(open_coco(tmp_path / "annotations").train) == 15
    (tmp_path / "train2017" / "3.png").unlink()
    with pytest.raises(DataError, match=r"lists the image '3\.png', which is neither beside it nor in images/"):
        open_coco(tmp_path / "annotations" / "instances_train2017.json")


def no_images(content: dict[str, Any]) -> None:
    content["images"] = []


def no_key(content: dict[str, Any]) -> None:
    del content["annotations"]


def unknown_category(content: dict[str, Any]) -> None:
    content["annotations"][0]["category_id"] = 99


def unknown_image(content: dict[str, Any]) -> None:
    content["annotations"][0]["image_id"] = 99


def three_numbers(content: dict[str, Any]) -> None:
    content["annotations"][0]["bbox"] = [1, 2, 3]


def negative(content: dict[str, Any]) -> None:
    content["annotations"][0]["bbox"] = [1, 2, -3, 4]


def no_size(content: dict[str, Any]) -> None:
    del content["images"][1]["width"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_images, "lists no images"),
        (no_key, "is no COCO annotation .*annotations"),
        (unknown_category, "annotation 10 cannot be used .*99"),
        (unknown_image, "annotation 10 cannot be used .*99"),
        (three_numbers, "annotation 10 cannot be used"),
        (negative, "a box of -3 x 4"),
        (no_size, "annotation 10 cannot be used .*width"),
    ],
)
def test_what_is_wrong_is_one_sentence(change: Callable[[dict[str, Any]], None], message: str, tmp_path: Path) -> None:
    file = write_boxes(tmp_path) / "instances.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        open_coco(tmp_path)


def test_a_file_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[1, 2")
    with pytest.raises(DataError, match="is no COCO annotation"):
        open_coco(tmp_path)
