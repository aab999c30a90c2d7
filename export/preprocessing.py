"""How a picture becomes the input of a model: what whoever deploys a graph has to know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from secateur.core.errors import ExportError
from secateur.export.graph_note import read_note

NOTE = "secateur.preprocessing"
"""What the metadata of a graph calls its preprocessing."""


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing of a model that takes images of `shape` (C, H, W), C being 1 (grey) or 3 (RGB).

    The image is resized by `interpolation` so that the crop takes `crop_pct` of it, cropped as `crop_mode` says, and
    normalised: `mean` and `std` hold C numbers on the scale of pixels from 0 to 1. What is `inside` the graph is not
    done again: that takes the cropped pixels as they are, uint8 `[batch, H, W, C]`.

    >>> from secateur.export.preprocessing import Preprocessing
    >>> rule = Preprocessing((1, 2, 2), mean=(0.5,), std=(0.25,))
    >>> rule.normalised(np.full((1, 2, 2, 1), 255, np.uint8)).tolist()
    [[[[2.0, 2.0], [2.0, 2.0]]]]
    """

    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    crop_pct: float = 0.875
    crop_mode: str = "center"
    inside: bool = False

    def __post_init__(self) -> None:
        channels = self.shape[0]
        if min(self.shape) < 1 or not len(self.mean) == len(self.std) == channels:
            raise ExportError(
                f"the images have the shape {list(self.shape)}, and the preprocessing {len(self.mean)} means and "
                f"{len(self.std)} standard deviations: give one of each for each channel"
            )
        if not all(np.isfinite(self.mean)) or not all(0 < one < np.inf for one in self.std):
            raise ExportError(
                f"the preprocessing has the means {list(self.mean)} and the standard deviations {list(self.std)}, but "
                "they must be finite, and the deviations above 0"
            )

    @property
    def size(self) -> str:
        """Height and width, as `224 x 224`."""
        return " x ".join(map(str, self.shape[1:]))

    def normalised(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What a graph without preprocessing takes, `[B, C, H, W]`, of cropped pixels `[B, H, W, C]`."""
        mean, std = (np.asarray(values, np.float32).reshape(-1, 1, 1) for values in (self.mean, self.std))
        scaled = pixels.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
        return np.ascontiguousarray((scaled - mean) / std)

    def to_note(self) -> str:
        """The fields as JSON, for the metadata of a graph."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_note(notes: Mapping[str, str], where: str) -> Preprocessing | None:
        """The preprocessing in the metadata of the graph `where`; None where there is none.

        Raises `ExportError` for a note that is none of ours.
        """
        if NOTE not in notes:
            return None
        return read_note(notes, NOTE, Preprocessing, where)
