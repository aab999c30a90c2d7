"""Augmented views for distillation, each decided by the seed, the epoch and the image alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image
from timm.data.mixup import rand_bbox
from timm.data.transforms_factory import transforms_imagenet_train
from torch import Tensor
from torch.utils.data import Dataset

from secateur.core.errors import RecipeError
from secateur.pipeline.data.images import Images
from secateur.pipeline.data.transform import Transform
from secateur.pipeline.recover.spec import DistillSpec

Key = tuple[int, int]
"""The epoch and the index of an image."""


class Views(Dataset[tuple[Tensor, Tensor]]):
    """The view `[C, H, W]` of an image in an epoch: cropped, mirrored, augmented, and mixed with another image.

    With it comes how much of it shows each class, `[classes]`.

    A view depends on its key and the seed only, so that the same views are seen by one process and by many, and
    after a resume.
    """

    def __init__(self, images: Images, transform: Transform, spec: DistillSpec, seed: int) -> None:
        self.images = images
        self.spec = spec
        self.seed = seed
        self.mode = "L" if transform.shape[0] == 1 else "RGB"
        self.truths = images.truths if spec.labels else None
        self.transform: Callable[[Image.Image], Tensor] = transform
        if self.truths is not None and self.truths.in_place:
            check_unmoved(spec)
            return
        self.transform = transforms_imagenet_train(
            img_size=transform.shape[1:],
            scale=(spec.scale, 1.0),
            hflip=spec.flip,
            color_jitter=0.0,
            auto_augment=spec.augment or None,
            interpolation=transform.interpolation,
            mean=transform.mean,
            std=transform.std,
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        epoch, index = key
        draws = np.random.default_rng((self.seed, epoch, index))
        with seeded(int(draws.integers(2**31))):
            view = self._view(index)
            if draws.random() >= self.spec.mix:
                return view, self._shown(index, view)
            partner = int(draws.integers(len(self.images)))
            other = self._view(partner)
            share = float(draws.beta(0.8, 0.8))
            if draws.random() < 0.5:
                view = share * view + (1 - share) * other
            else:
                top, bottom, left, right = rand_bbox(view.shape, share)  # type: ignore[no-untyped-call]  # timm leaves it untyped
                view[:, top:bottom, left:right] = other[:, top:bottom, left:right]
                share = 1 - float((bottom - top) * (right - left)) / view[0].numel()
            return view, share * self._shown(index, view) + (1 - share) * self._shown(partner, view)

    def _shown(self, index: int, view: Tensor) -> Tensor:
        """The class of an image as a distribution `[classes]`, or what else is true of it."""
        if self.images.truths is not None:
            return torch.zeros(0) if self.truths is None else self.truths.read(index, (view.shape[1], view.shape[2]))
        shown = torch.zeros(len(self.images.classes))
        shown[int(self.images.labels[index])] = 1
        return shown

    def _view(self, index: int) -> Tensor:
        return torch.as_tensor(self.transform(self.images.read(index).convert(self.mode)), dtype=torch.float32)


def check_unmoved(spec: DistillSpec) -> None:
    """Raises `RecipeError` for views whose places are not those of the image, of which the labels speak."""
    moves = {"mix": spec.mix, "flip": spec.flip, "augment": spec.augment, "scale": spec.scale < 1 and spec.scale}
    if wrong := {key: value for key, value in moves.items() if value}:
        said = ", ".join(f"{key} {value}" for key, value in wrong.items())
        raise RecipeError(
            f"recover.distill has {said}, but labels of places in a picture teach only from the picture as it is: set "
            "mix and flip to 0, scale to 1 and augment to nothing, or labels to 0"
        )


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """The block draws the same random numbers of Python, NumPy and PyTorch each time; nobody else notices."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
