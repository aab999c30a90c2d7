"""The models with real weights, each with images to calibrate, to score and repair by, and to judge by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from secateur_studies.cifar_resnet import cifar_resnet
from secateur_studies.cnn_curves import cifar10
from torch import Tensor, nn

from secateur.pipeline.data.dataset import open_data
from secateur.pipeline.data.loader import Batch, Batches, Loader
from secateur.pipeline.data.spec import DataSpec
from secateur.pipeline.models.create import create_model
from secateur.pipeline.models.inputs import transform_for
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.make import make_plan
from secateur.pipeline.recover.compensate import compensate
from secateur.pipeline.scores.score import score
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.surgery import prune

CIFAR = "cifar10_resnet56"
TRAINED = ("deit_tiny_patch16_224", "tf_efficientnet_lite0", CIFAR)
BATCH = 16
CIFAR_CLASSES = 10
REPAIRS, JUDGES = 500, 372
"""Images that score and repair the pruned side, and others by which mixed precision is chosen."""


@dataclass(frozen=True)
class Trained:
    """A trained model, the shape of its inputs, and its images.

    `calibration`, `repairs` and `choice` are different training images, `evaluation` are others.
    """

    model: nn.Module
    shape: tuple[int, ...]
    calibration: Batches
    repairs: Batches
    choice: Batches
    evaluation: Batches

    @property
    def few(self) -> Batches:
        """Two batches of the calibration images."""
        return list(islice(self.calibration, 2))


def open_trained(name: str, data: Path, images: int, held_out: int) -> Trained:
    """A model of `TRAINED` with `images` for the calibration and `held_out` to judge by, drawn with one seed."""
    generator = np.random.default_rng(0)
    counts = (images, REPAIRS, JUDGES)
    if name == CIFAR:
        model: nn.Module = cifar_resnet(data / "weights" / f"{CIFAR}.safetensors")
        x, y = (torch.cat(part) for part in zip(*cifar10(data / "cifar10", "train", 0), strict=True))
        one, two, three = (_batches(x[rows], y[rows]) for rows in _apart(len(y), counts, generator))
        tested = cifar10(data / "cifar10", "test", held_out // CIFAR_CLASSES)
        return Trained(model, (3, 32, 32), one, two, three, tested)
    found = open_data(DataSpec(calibration=str(data / "imagenet-train1000"), evaluation=str(data / "imagenet-val1000")))
    model = create_model(name, weights=str(data / "weights" / f"{name}.safetensors")).eval()
    transform = transform_for(model)
    calibration, repairs, choice = (
        Loader(found.calibration, transform, BATCH, rows) for rows in _apart(len(found.calibration), counts, generator)
    )
    judged = np.sort(generator.permutation(len(found.evaluation))[:held_out])
    evaluation = Loader(found.evaluation, transform, BATCH, judged)
    return Trained(model, (3, 224, 224), calibration, repairs, choice, evaluation)


@dataclass(frozen=True)
class Joined:
    """The batches of one source after those of another."""

    parts: tuple[Batches, ...]

    def __iter__(self) -> Iterator[Batch]:
        return chain.from_iterable(self.parts)


def ten_classes(model: nn.Module, folder: Path) -> Batches:
    """All images of Imagenette, the folders `train` and `val` of `folder`, with ImageNet's numbers of their classes."""
    from timm.data import ImageNetInfo

    with TemporaryDirectory() as place:
        names = Path(place) / "classes.txt"
        names.write_text("\n".join(ImageNetInfo().label_names()))  # type: ignore[no-untyped-call]
        spec = DataSpec(calibration=str(folder / "train"), evaluation=str(folder / "val"), class_map=str(names))
        found = open_data(spec)
    transform = transform_for(model)
    return Joined(tuple(Loader(side, transform, BATCH) for side in (found.calibration, found.evaluation)))


def _apart(images: int, counts: Sequence[int], generator: np.random.Generator) -> list[NDArray[np.int64]]:
    """The places of so many images for each purpose, none of them twice."""
    ends = np.cumsum(counts)
    return [np.sort(rows) for rows in np.split(generator.permutation(images)[: ends[-1]], ends[:-1])]


def _batches(images: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    return list(zip(torch.split(images, BATCH), torch.split(labels, BATCH), strict=True))


def halved(task: Trained) -> nn.Module:
    """The model with half of its multiply-accumulates, repaired in closed form front to back and not trained."""
    groups = find_groups(task.model, torch.zeros(1, *task.shape))
    scores = score(task.model, groups, task.repairs, method="obs")
    plan = make_plan(groups, scores, Budget(macs=0.5), "knapsack")
    return compensate(prune(task.model, plan, groups), task.model, plan, task.repairs, groups=groups)
