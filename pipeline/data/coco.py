"""The source `coco`: images with boxes in a COCO .json."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from secateur.core.errors import DataError
from secateur.core.json_text import read_json_text
from secateur.pipeline.data.images import FileImages
from secateur.pipeline.data.registry import Sides, Source, register
from secateur.pipeline.data.table import is_there
from secateur.pipeline.data.truths import Indices, Truths, rarest

MOST_BYTES = 2 << 30
"""Of a file of annotations; that of COCO's training images has 448 million."""
COLUMNS = 6
"""Of a box: class, left, top, right, bottom, and whether it is a crowd."""


class Boxes(Truths):
    """Boxes of each image, `[M, 6]`: class, left, top, right, bottom (shares of the picture), whether it is a crowd.

    They are read as `[most, 6]` in pixels of the input, filled up with rows of the class -1.
    """

    in_place = True

    def __init__(self, boxes: Sequence[NDArray[np.float32]], strata: NDArray[np.int64], most: int) -> None:
        super().__init__(strata)
        self.boxes = tuple(boxes)
        self.most = most

    def read(self, i: int, size: tuple[int, int]) -> Tensor:
        height, width = size
        rows = torch.full((self.most, COLUMNS), -1.0)
        scale = np.array([1, width, height, width, height, 1], dtype=np.float32)
        rows[: len(self.boxes[i])] = torch.from_numpy(self.boxes[i] * scale)
        return rows

    def content(self, i: int) -> bytes:
        boxes: bytes = self.boxes[i].tobytes()
        return boxes

    def subset(self, indices: Indices) -> Self:
        chosen = np.asarray(indices, dtype=np.int64)
        return type(self)([self.boxes[i] for i in chosen], self.strata[chosen], self.most)


def open_coco(path: Path) -> Sides:
    """The images that the file lists, with their boxes; the classes are its categories in the order of their ids.

    Images are looked for beside the file, in `images/` there, and in the same places of the folder above, in which a
    folder may also be named as the file ends (`instances_train2017.json`: `train2017/`). Raises `DataError` for a file
    that is no COCO annotation, for images that are not there, and for boxes of unknown images or categories.
    """
    file = annotations_in(path)[0]
    try:
        content = read_json_text(file, MOST_BYTES)
        images = {entry["id"]: entry for entry in content["images"]}
        categories = sorted((int(entry["id"]), str(entry["name"])) for entry in content["categories"])
        annotations = list(content["annotations"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, AttributeError) as error:
        raise DataError(
            f"{file} is no COCO annotation ({type(error).__name__}: {error}): it needs images, categories and "
            "annotations"
        ) from error
    if not images or not categories:
        raise DataError(f"{file} lists no {'categories' if images else 'images'}: add some")
    numbers = {category: number for number, (category, _) in enumerate(categories)}
    found: dict[Any, list[list[float]]] = {key: [] for key in images}
    for annotation in annotations:
        found_in, box = _box(annotation, images, numbers, file)
        found[found_in].append(box)
    boxes = [np.array(rows, dtype=np.float32).reshape(-1, COLUMNS) for rows in found.values()]
    there = np.zeros((len(boxes), len(categories)), dtype=np.bool_)
    for row, rows in enumerate(boxes):
        there[row, rows[:, 0].astype(np.int64)] = True
    truths = Boxes(boxes, rarest(there), max(1, *(len(rows) for rows in boxes)))
    paths = [_image(str(entry.get("file_name")), file) for entry in images.values()]
    return Sides(FileImages(paths, truths.strata, tuple(name for _, name in categories), truths=truths))


def annotations_in(path: Path) -> list[Path]:
    """The .json files that a path is, or that lie in it."""
    return sorted(path.glob("*.json")) if path.is_dir() else [path]


def recognises(path: Path) -> bool:
    """Whether the path is a .json, or a folder with a single one."""
    return len(annotations_in(path)) == 1 and annotations_in(path)[0].suffix == ".json" and path.exists()


def _box(
    annotation: Mapping[str, Any], images: Mapping[Any, Mapping[str, Any]], numbers: Mapping[int, int], file: Path
) -> tuple[Any, list[float]]:
    """The image that an annotation is of, and its row of `Boxes`."""
    try:
        image, number = images[annotation["image_id"]], numbers[annotation["category_id"]]
        left, top, width, height = (float(value) for value in annotation["bbox"])
        across, down = float(image["width"]), float(image["height"])
        if not all(map(math.isfinite, (left, top, width, height, across, down))):
            raise ValueError("a number that is not finite")
        if min(across, down) <= 0 or not (width >= 0 and height >= 0):
            raise ValueError(f"a box of {width:g} x {height:g} in a picture of {across:g} x {down:g}")
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        which = annotation.get("id") if isinstance(annotation, Mapping) else annotation
        raise DataError(
            f"{file}: the annotation {repr(which)[:80]} cannot be used ({type(error).__name__}: {error}): it "
            "needs a bbox of four numbers, and an image with width and height and a category that the file lists"
        ) from error
    corners = [left / across, top / down, (left + width) / across, (top + height) / down]
    return annotation["image_id"], [number, *corners, float(bool(annotation.get("iscrowd")))]


def _image(name: str, file: Path) -> Path:
    """Where an image of a COCO file lies."""
    folder, above = file.parent, file.parent.parent
    for place in (folder, folder / "images", above, above / "images", above / file.stem.rpartition("_")[2]):
        if is_there(place / name):
            return place / name
    raise DataError(f"{file} lists the image {name!r}, which is neither beside it nor in images/: add it there")


LOOKS = "a COCO .json of boxes, or a folder with a single one and the images in images/"
register(Source("coco", LOOKS, recognises, open_coco, labels="boxes"))
