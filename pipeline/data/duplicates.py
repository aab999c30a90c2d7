"""Images that two sources share, found by what they hold, whatever they are called and wherever they lie."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from secateur.pipeline.data.images import Images

KEYS: tuple[Callable[[Images, int], Hashable], ...] = (
    lambda images, i: images.size(i),
    lambda images, i: images.head(i),
    lambda images, i: images.digest(i),
)
"""What tells images apart, the cheapest first: nearly all differ in size or first bytes, so that few are read whole."""


def shared_images(one: Images, two: Images) -> list[tuple[int, int]]:
    """For each image of `one` whose stored bytes are those of an image of `two`: both indices, sorted.

    Of several equal images of `two` it is the first. Pixels that are stored in another way (a JPEG and its PNG) count
    as another image.
    """
    left: Sequence[int] = range(len(one))
    right: Sequence[int] = range(len(two))
    of_left: dict[int, Hashable] = {}
    of_right: dict[int, Hashable] = {}
    for key in KEYS:
        of_left = {i: key(one, i) for i in left}
        of_right = {i: key(two, i) for i in right}
        common = set(of_left.values()) & set(of_right.values())
        left = [i for i, value in of_left.items() if value in common]
        right = [i for i, value in of_right.items() if value in common]
    first: dict[Hashable, int] = {}
    for i in right:
        first.setdefault(of_right[i], i)
    return [(i, first[of_left[i]]) for i in left]
