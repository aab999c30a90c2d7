"""How much a file of images may claim, before anything is made of it."""

from __future__ import annotations

from secateur.core.errors import DataError

MOST_CLASSES = 1_000_000
"""Numbers of classes beyond this are taken for a mistake."""
RATIO, SPARE = 100, 64 << 20
"""A file holds at most `RATIO` times its own bytes, and `SPARE`: what is packed tighter is no images."""
LONGEST_SIDE = 100
"""Times as long as the other side of an image; longer ones become huge when their short side fits an input."""


def check_unpacked(claimed: int, stored: int, where: str) -> None:
    """Raises `DataError` where a packed file of `stored` bytes says that it unpacks to far more."""
    if claimed > RATIO * stored + SPARE:
        raise DataError(
            f"{where} has {stored:,} bytes and says that it holds {claimed:,}, but at most {RATIO} times as many as "
            "the file has are read: write the images with less compression"
        )


def check_label(label: int, where: str) -> None:
    """Raises `DataError` for a label that numbers no class."""
    if not 0 <= label < MOST_CLASSES:
        raise DataError(
            f"{where} has the label {str(label)[:40]}, but labels are names, or numbers from 0 to {MOST_CLASSES - 1}"
        )


def check_sides(width: int, height: int) -> None:
    """Raises `ValueError` for a strip that no resizing of its short side may blow up."""
    if max(width, height) > LONGEST_SIDE * min(width, height):
        raise ValueError(f"it is {width} x {height} pixels, but one side may be at most {LONGEST_SIDE} times the other")
