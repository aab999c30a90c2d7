"""What a recipe says about data: where the images are, and what is held out of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from secateur.core.errors import DataError

Duplicates = Literal["refuse", "drop"]


@dataclass(frozen=True)
class DataSpec:
    """Either one `path`, or `calibration` and `evaluation`; see `open_data` for the formats.

    Labels that are numbers count classes from 0 to the highest label. Raises `DataError` when the fields do not fit
    together.
    """

    path: str | None = None
    """Labelled images in one place: a folder, labels.csv, .npz, `cifar10`, idx files, COCO, or `digits`."""
    calibration: str | None = None
    """The images that units are scored and the model is repaired by; goes with `evaluation`, instead of `path`."""
    evaluation: str | None = None
    """The held-out images, which give the final accuracy and nothing else; goes with `calibration`."""
    held_out: float = 0.2
    """The share of the images that is kept for evaluation, where their source has no split of its own."""
    num_classes: int | None = None
    """How many classes there are, where labels are numbers and the highest ones have no image."""
    class_map: str | None = None
    """A .txt or .json file that says which class has which number (timm's `--class-map`), where that is not the order
    of their names.
    """
    file_column: str = "file"
    """What a table (labels.csv) calls the column with the images' files."""
    label_column: str = "label"
    """What a table calls the column with their labels; of several columns of numbers, the only one that is meant."""
    duplicates: Duplicates = "refuse"
    """What becomes of an image that both sides hold, byte by byte: the data are refused, or it is dropped from the
    calibration images.
    """

    def __post_init__(self) -> None:
        pair = (self.calibration is not None) + (self.evaluation is not None)
        if (self.path is not None and pair) or (self.path is None and pair < 2):
            given = [key for key in ("path", "calibration", "evaluation") if getattr(self, key) is not None]
            raise DataError(
                f"the data has {' and '.join(given) or 'no path'}, but needs either path alone "
                "or both calibration and evaluation"
            )
        if not 0 < self.held_out < 1:
            raise DataError(
                f"data.held_out is {self.held_out}, but must lie between 0 and 1 (both excluded), such as 0.2"
            )
        if self.num_classes is not None and self.num_classes < 1:
            raise DataError(f"data.num_classes is {self.num_classes}, but must be 1 or more")
        for name in ("file_column", "label_column"):
            if not getattr(self, name):
                raise DataError(f"data.{name} is '', but must be the name of a column")
        if self.file_column == self.label_column:
            raise DataError(f"data.file_column and data.label_column are both {self.file_column!r}: name two columns")
        if self.class_map == "":
            raise DataError("data.class_map is '', but must be a .txt or .json file, or null")
        if self.duplicates not in get_args(Duplicates):
            raise DataError(f"data.duplicates is {self.duplicates!r}, but must be refuse or drop")
