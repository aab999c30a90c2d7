"""Which classes are meant, in the data and in the model, and the images of these alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from secateur.core.errors import DataError, near_matches
from secateur.pipeline.data.dataset import Dataset
from secateur.pipeline.data.images import Images

IMAGENET = 1000


def labels_of(words: Sequence[str], classes: Sequence[str]) -> list[int]:
    """The labels in the data that the words name; raises `DataError` with near matches for a word that names none."""
    for word in words:
        if word not in classes:
            few = ", ".join(classes[:3]) + (f", ... {classes[-1]}" if len(classes) > 3 else "")
            raise DataError(f"the data has no class {word!r}{near_matches(word, classes)}; its classes are {few}")
    return [list(classes).index(word) for word in words]


def logits_of(words: Sequence[str], classes: Sequence[str], outputs: int) -> list[int]:
    """The numbers of the model's logits that the words mean.

    Data of all the model's classes numbers them itself. Where it has fewer, ImageNet's WordNet ids such as
    `n01440764` stand for their places among the 1,000, and numbers for themselves. Raises `DataError` for other words.
    """
    if len(classes) == outputs:
        return labels_of(words, classes)
    if all(word.isdigit() for word in words):
        return [int(word) for word in words]
    from timm.data import ImageNetInfo

    known = ImageNetInfo("imagenet-1k").label_names()  # type: ignore[no-untyped-call]  # timm leaves it untyped
    unknown = [word for word in words if word not in known]
    if unknown or outputs != IMAGENET:
        word = unknown[0] if unknown else words[0]
        raise DataError(
            f"the data has {len(classes)} classes and the model {outputs}, so that {word!r} does not say which logit "
            "is meant: give data of all classes, or classes by ImageNet's WordNet ids or by numbers"
        )
    return [known.index(word) for word in words]


def spelt_out(names: Sequence[str]) -> list[str]:
    """The names of classes for a reader: ImageNet's WordNet ids with what they mean, such as `tench (n01440764)`."""
    from timm.data import ImageNetInfo

    about = ImageNetInfo("imagenet-1k")
    known = set(about.label_names())  # type: ignore[no-untyped-call]  # timm leaves it untyped
    return [f"{about.label_name_to_description(n).split(',')[0]} ({n})" if n in known else n for n in names]


def of_classes(data: Dataset, words: Sequence[str]) -> Dataset:
    """The images of some classes only, which are then labelled from 0 in the order of the words."""
    labels = labels_of(words, data.classes)
    return Dataset(*(_only(side, labels, tuple(words)) for side in (data.calibration, data.evaluation)))


def _only(images: Images, labels: list[int], names: tuple[str, ...]) -> Images:
    numbers = {label: number for number, label in enumerate(labels)}
    part = images.subset(np.flatnonzero(np.isin(images.labels, labels)))
    return part.relabelled(names, labels=np.array([numbers[int(label)] for label in part.labels], dtype=np.int64))
