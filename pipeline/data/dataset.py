"""Two sets of images that share no image: one to compute with, one to judge by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from secateur.core.errors import DataError
from secateur.pipeline.data import cifar10, digits, folder, idx, labels_csv, npz, split_folder
from secateur.pipeline.data.images import FileImages, Images
from secateur.pipeline.data.registry import Sides, find_source
from secateur.pipeline.data.sampling import held_out
from secateur.pipeline.data.spec import DataSpec

SOURCES = (cifar10, digits, folder, idx, labels_csv, npz, split_folder)
"""The modules whose import registers the formats."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images to score, plan and recover with, and held-out images that judge the result and serve nothing else."""

    calibration: Images
    evaluation: Images

    @property
    def classes(self) -> tuple[str, ...]:
        """The class list that both sides share."""
        return self.calibration.classes


def open_data(spec: DataSpec | str | Path, seed: int = 0) -> Dataset:
    """The two sides of the data, without a common image and with one class list.

    A path is `digits`, a folder with one subfolder of images a class (with or without `train/` and `val/` above
    them), a folder of images with `labels.csv`, CIFAR-10 python batches, IDX files, or an `.npz`. A source with a
    split of its own is taken as it is; of any other, `spec.held_out` of each class is held out, seeded. Raises
    `DataError` when anything is missing, damaged or does not fit together.
    """
    if not isinstance(spec, DataSpec):
        spec = DataSpec(path=str(spec))
    if spec.path is not None:
        sides = _open(spec.path)
        if sides.held_out is None:
            sides = _split(sides.train, spec, seed)
    else:
        sides = _pair(str(spec.calibration), str(spec.evaluation))
    calibration, evaluation = _one_class_list(sides.train, sides.held_out or sides.train, spec)
    _check_disjoint(calibration, evaluation)
    return Dataset(calibration, evaluation)


def _open(word: str) -> Sides:
    if not word:
        raise DataError("the data's path is empty: give a file, a folder or the word digits")
    path = Path(word).expanduser()
    return find_source(path).open(path)


def _split(images: Images, spec: DataSpec, seed: int) -> Sides:
    held = held_out(images.labels, spec.held_out, seed)
    if not held.size:
        raise DataError(
            f"{spec.path} has a single image of each class, so that none can be held out: "
            "give data.calibration and data.evaluation instead of data.path"
        )
    return Sides(images.exclude(held), images.subset(held))


def _pair(calibration: str, evaluation: str) -> Sides:
    """The calibration source's training images and the evaluation source's held-out ones (all, where not split)."""
    if Path(calibration).expanduser().resolve() == Path(evaluation).expanduser().resolve():
        raise DataError(
            f"calibration and evaluation are both {calibration}, but images that judge the result must not serve "
            "to compute it: give data.path, which holds a part out, or two different sources"
        )
    judged = _open(evaluation)
    return Sides(_open(calibration).train, judged.held_out or judged.train)


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


def _check_disjoint(calibration: Images, evaluation: Images) -> None:
    if isinstance(calibration, FileImages) and isinstance(evaluation, FileImages):
        common = {path.resolve() for path in calibration.paths} & {path.resolve() for path in evaluation.paths}
        if common:
            raise DataError(
                f"calibration and evaluation share {len(common)} images (first {min(common)}): give folders apart"
            )
    elif len(calibration) == len(evaluation) and calibration.fingerprint() == evaluation.fingerprint():
        raise DataError("calibration and evaluation hold the same images: give two different sources")
