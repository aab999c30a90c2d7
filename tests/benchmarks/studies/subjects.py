"""A subject of studies that costs little: the tests' small vision transformer and twenty random images."""

from __future__ import annotations

import numpy as np
from secateur_studies.peer_tasks import Subject
from torch import nn

from secateur.pipeline.data.images import ArrayImages
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.data.transform import Transform
from secateur.pipeline.structure.groups import Groups


def small_subject(vit: nn.Module, groups: Groups, align: int = 1) -> Subject:
    """The subject, calibrated and judged on the same images; its groups are those given, found once for all tests."""
    pixels = np.random.default_rng(0).integers(256, size=(20, 16, 16, 3), dtype=np.uint8)
    images = ArrayImages(pixels, np.arange(20, dtype=np.int64) % 5, tuple("abcde"))
    transform = Transform((3, 16, 16), (0.5,) * 3, (0.5,) * 3)
    loaders = [Loader(images, transform, 10) for _ in range(2)]
    subject = Subject(vit, "mlp_hidden", align, ".mlp", images, transform, *loaders)
    vars(subject)["groups"] = groups
    return subject
