"""Arrays of pixels and labels as `ArrayImages`, checked; shared by the sources that are not made of image files."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.core.errors import DataError
from secateur.pipeline.data.bounds import check_label
from secateur.pipeline.data.class_order import in_order
from secateur.pipeline.data.images import ArrayImages, numbered_classes


def array_images(
    pixels: NDArray[Any], labels: NDArray[Any], where: str, classes: tuple[str, ...] | None = None
) -> ArrayImages:
    """Images from `pixels` `[N, H, W]`, `[N, H, W, 1 or 3]` or `[N, 1 or 3, H, W]` and `labels` `[N]`.

    Pixels are uint8, other integers from 0 to 255, or floats from 0 to 1. Labels are numbers from 0, or names when
    no `classes` are given. Raises `DataError` naming `where` for anything else.
    """
    if not pixels.ndim:
        _channels_last(pixels, where)
    if labels.ndim != 1 or len(labels) != len(pixels):
        raise DataError(
            f"{where} holds {len(pixels)} images, but labels of the shape {list(labels.shape)}: one label an image"
        )
    if not len(pixels):
        raise DataError(f"{where} holds no images: give a file with some")
    grey_or_rgb = _bytes(_channels_last(pixels, where), where)
    if labels.dtype.kind in "US" and classes is None:
        names = in_order(labels.astype(str).tolist())
        places = {name: number for number, name in enumerate(names)}
        return ArrayImages(grey_or_rgb, np.array([places[str(name)] for name in labels], dtype=np.int64), names)
    if labels.dtype.kind not in "iu":
        raise DataError(f"{where} has labels of the type {labels.dtype}, but labels are numbers from 0, or names")
    for label in (labels.min(), labels.max()):
        check_label(int(label), where)
    numbers = labels.astype(np.int64)
    most = len(classes) if classes is not None else None
    if most is not None and numbers.max() >= most:
        raise DataError(f"{where} has the label {numbers.max()}, but labels go from 0 to {most - 1}")
    return ArrayImages(grey_or_rgb, numbers, classes or numbered_classes(numbers), numbered=classes is None)


def _channels_last(pixels: NDArray[Any], where: str) -> NDArray[Any]:
    shape = pixels.shape
    if pixels.ndim == 4 and shape[3] not in (1, 3) and shape[1] in (1, 3):
        pixels = pixels.transpose(0, 2, 3, 1)
    if pixels.ndim == 4 and pixels.shape[3] == 1:
        pixels = pixels[..., 0]
    if 0 in shape or not (pixels.ndim == 3 or (pixels.ndim == 4 and pixels.shape[3] == 3)):
        raise DataError(
            f"{where} has images of the shape {list(shape)}, but [N, H, W], [N, H, W, 3] or [N, 3, H, W] is needed"
        )
    return pixels


def _bytes(pixels: NDArray[Any], where: str) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels
    low, high = pixels.min(), pixels.max()  # NaN compares false with every bound
    if pixels.dtype.kind in "iu" and low >= 0 and high <= 255:
        return pixels.astype(np.uint8)
    if pixels.dtype.kind == "f" and low >= 0 and high <= 1:
        return np.round(pixels * 255).astype(np.uint8)
    raise DataError(
        f"{where} has {pixels.dtype} pixels from {low} to {high}, but integers from 0 to 255 or floats from 0 to 1 "
        "are needed"
    )
