"""What a recipe says about data: where the images are, and what is held out of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from secateur.core.errors import DataError

Duplicates = Literal["refuse", "drop"]


@dataclass(frozen=True)
class DataSpec:
    """Either one `path`, or `calibration` and `evaluation`; see `open_data` for the formats.

    `held_out` is the fraction of a source without a split of its own that is kept for evaluation. Labels that are
    numbers count classes from 0 to the highest label; `num_classes` says how many there are when the highest ones
    have no image. `class_map` is a file that says which class has which number (timm's `--class-map`), where that is
    not the order of their names. `duplicates` says what becomes of an image that both sides hold, byte by byte:
    `refuse` the data, or `drop` it from the calibration images. Raises `DataError` when the fields do not fit together.
    """

    path: str | None = None
    calibration: str | None = None
    evaluation: str | None = None
    held_out: float = 0.2
    num_classes: int | None = None
    class_map: str | None = None
    duplicates: Duplicates = "refuse"

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
        if self.class_map == "":
            raise DataError("data.class_map is '', but must be a .txt or .json file, or null")
        if self.duplicates not in get_args(Duplicates):
            raise DataError(f"data.duplicates is {self.duplicates!r}, but must be refuse or drop")
