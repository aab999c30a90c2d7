"""Two sets of images that share no image: one to compute with, one to judge by."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from secateur.core.errors import DataError
from secateur.pipeline.data.class_map import find_class_map, read_class_map, with_class_map
from secateur.pipeline.data.duplicates import shared_images
from secateur.pipeline.data.images import Images
from secateur.pipeline.data.registry import Sides, open_source
from secateur.pipeline.data.sampling import held_out
from secateur.pipeline.data.spec import DataSpec
from secateur.pipeline.data.table import Columns
from secateur.pipeline.data.truths import LabelKind

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images to score, plan and recover with, and held-out images that judge the result and serve nothing else."""

    calibration: Images
    evaluation: Images

    @property
    def classes(self) -> tuple[str, ...]:
        """The class list that both sides share."""
        return self.calibration.classes


def open_data(spec: DataSpec | str | Path, seed: int = 0, labels: LabelKind = "classes") -> Dataset:
    """The two sides of the data, without a common image and with one class list.

    A path is `digits`, a folder with one subfolder of images a class (with or without `train/` and `val/` above
    them), a folder of images with `labels.csv`, CIFAR-10 python batches, IDX files, or an `.npz`. A source with a
    split of its own is taken as it is; of any other, `spec.held_out` of each class is held out, seeded, and copies of
    an image stay on one side. Where `labels` are not classes, the source is another: see `data.truths` and the sources
    of that kind. Classes with names are in timm's order, or in that of `spec.class_map`. Raises
    `DataError` when anything is missing, damaged or does not fit together, and when both sides hold the same image.

    >>> data = sc.open_data("digits")
    >>> len(data.calibration), len(data.evaluation), data.classes[:3]
    (1438, 359, ('0', '1', '2'))
    """
    if not isinstance(spec, DataSpec):
        spec = DataSpec(path=str(spec))
    columns = Columns(spec.file_column, spec.label_column)
    if spec.path is not None:
        sides = _open(spec.path, labels, columns)
    else:
        sides = _pair(str(spec.calibration), str(spec.evaluation), labels, columns)
    if sides.held_out is None:
        calibration, evaluation = _split(sides.train, spec, seed)
    else:
        calibration, evaluation = _without_shared(sides.train, sides.held_out, spec), sides.held_out
    if spec.class_map is not None and labels != "classes":
        raise DataError(f"data.class_map is for one class of each image, but the labels are {labels}: leave it out")
    if spec.class_map is not None:
        calibration, evaluation = _mapped(calibration, evaluation, spec.class_map, spec)
    return Dataset(*_one_class_list(calibration, evaluation, spec))


def _open(word: str, labels: LabelKind, columns: Columns) -> Sides:
    if not word:
        raise DataError("the data's path is empty: give a file, a folder or the word digits")
    path = Path(word).expanduser()
    return open_source(path, labels, columns)


def _split(images: Images, spec: DataSpec, seed: int) -> tuple[Images, Images]:
    """What stays for calibration and what is held out; they share no image."""
    held = held_out(images.labels, spec.held_out, seed)
    if held.size:  # of several copies of an image, none is held out when another is not
        copies = {i for i, _ in shared_images(images.subset(held), images.exclude(held))}
        held = np.array([index for i, index in enumerate(held) if i not in copies], dtype=np.int64)
    if not held.size:
        raise DataError(
            f"{spec.path} has a single image of each class, or copies of it, so that none can be held out: "
            "give data.calibration and data.evaluation instead of data.path"
        )
    return images.exclude(held), images.subset(held)


def _pair(calibration: str, evaluation: str, labels: LabelKind, columns: Columns) -> Sides:
    """The calibration source's training images and the evaluation source's held-out ones (all, where not split)."""
    if Path(calibration).expanduser().resolve() == Path(evaluation).expanduser().resolve():
        raise DataError(
            f"calibration and evaluation are both {calibration}, but images that judge the result must not serve "
            "to compute it: give data.path, which holds a part out, or two different sources"
        )
    judged = _open(evaluation, labels, columns)
    return Sides(_open(calibration, labels, columns).train, judged.held_out or judged.train)


def _mapped(one: Images, two: Images, class_map: str, spec: DataSpec) -> tuple[Images, Images]:
    """Both sides with the classes of a class map."""
    path = find_class_map(class_map, [place for place in (spec.path, spec.calibration, spec.evaluation) if place])
    names = read_class_map(path, spec.num_classes or 0)
    return with_class_map(one, names, str(path)), with_class_map(two, names, str(path))


def _one_class_list(one: Images, two: Images, spec: DataSpec) -> tuple[Images, Images]:
    """Both sides with the same classes: numbered ones are extended to the longer list, named ones must agree."""
    longest = max(one, two, key=lambda side: len(side.classes))
    classes, numbered = longest.classes, one.numbered and two.numbered
    if spec.num_classes is not None and numbered:
        if spec.num_classes < len(classes):
            raise DataError(f"data.num_classes is {spec.num_classes}, but the labels go up to {len(classes) - 1}")
        classes = tuple(str(number) for number in range(spec.num_classes))
    if spec.num_classes is not None and spec.num_classes != len(classes):
        raise DataError(f"data.num_classes is {spec.num_classes}, but the data names {len(classes)} classes")
    sides = []
    for side in (one, two):
        if side.classes != (classes[: len(side.classes)] if side.numbered else classes):
            raise DataError(f"the two sides have different classes: {_difference(one.classes, two.classes)}")
        sides.append(side.relabelled(classes, numbered))
    return sides[0], sides[1]


def _difference(one: tuple[str, ...], two: tuple[str, ...]) -> str:
    only_one, only_two = sorted(set(one) - set(two)), sorted(set(two) - set(one))
    if not only_one and not only_two:
        return "the same names in another order; give both the same order"
    parts = [
        f"{len(only)} only for {side} (first {only[0]!r})"
        for only, side in ((only_one, "calibration"), (only_two, "evaluation"))
        if only
    ]
    return f"{len(one)} for calibration, {len(two)} for evaluation, {', '.join(parts)}; give both the same classes"


def _without_shared(calibration: Images, evaluation: Images, spec: DataSpec) -> Images:
    """The calibration images, of which none is also an evaluation image."""
    shared = shared_images(calibration, evaluation)
    if not shared:
        return calibration
    first, twin = shared[0]
    every = len(shared) == len(calibration)
    if every or spec.duplicates == "refuse":
        cure = "give two different sources" if every else "remove them from one side, or set data.duplicates=drop"
        raise DataError(
            f"calibration and evaluation share {len(shared)} images, byte by byte (first {calibration.name(first)} and "
            f"{evaluation.name(twin)}), but images that judge the result must not serve to compute it: {cure}"
        )
    _log.warning("%d calibration images are left out, since they are evaluation images too", len(shared))
    return calibration.exclude([i for i, _ in shared])
