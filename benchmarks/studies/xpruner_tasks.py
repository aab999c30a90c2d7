"""The tasks that X-Pruner is measured on: a small Swin on CIFAR-10, DeiT-Tiny for ten classes and for 1,000."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from secateur_studies.train_swin_cifar import TRANSFORM, cifar_swin, images_of
from torch import nn

from secateur.pipeline.data.classes import logits_of
from secateur.pipeline.data.dataset import open_data
from secateur.pipeline.data.images import Images
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.data.sampling import few_shot
from secateur.pipeline.data.spec import DataSpec
from secateur.pipeline.data.transform import Transform
from secateur.pipeline.models.create import create_model
from secateur.pipeline.models.inputs import input_shape, transform_for
from secateur.pipeline.plan.xpruner import Xpruner
from secateur.pipeline.structure.classes import specialised
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups, Kind
from secateur.pipeline.structure.history import Classes
from secateur.pipeline.structure.surgery import example_for

DEIT = "deit_tiny_patch16_224"
CLASSES = 1000
SHORT = Xpruner(steps=40, batch_size=10)
"""An eighth of the images that learned rates see by default, for models that take long."""


@dataclass(frozen=True)
class Way:
    """A score method with its options, and an allocation; `label` names the row."""

    label: str
    method: str
    allocate: str = "global"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """A model, images to score and repair with (`references` of each class, by the seed), images to judge by.

    `masks` are the options of the masks, `rates` those of learned rates, `macs` the shares of the MACs that stay.
    Models are tuned for `epochs` on `tuned` images of each class, those that score among them.
    """

    name: str
    model: nn.Module
    transform: Transform
    kinds: tuple[Kind, ...]
    calibration: Images
    judged: Loader
    references: int
    macs: tuple[float, ...]
    masks: dict[str, Any]
    epochs: int
    tuned: int
    rates: Xpruner = SHORT

    def images(self, seed: int) -> Images:
        """The images to score and repair with."""
        return self._few(self.references, seed)

    def lessons(self, seed: int) -> Images:
        """The images to tune with."""
        return self._few(self.tuned, seed)

    def _few(self, per_class: int, seed: int) -> Images:
        return self.calibration.subset(few_shot(self.calibration.labels, per_class, seed))

    def reference(self, seed: int) -> Loader:
        """The same, in batches."""
        return Loader(self.images(seed), self.transform, 20)

    def groups(self) -> Groups:
        """The groups of the kinds that are pruned and those around them, all of which keep their cost."""
        return find_groups(self.model, example_for(self.model, input_shape(self.model)))

    def draws(self, way: Way) -> bool:
        """Whether another seed makes another row: by other images, or by something that is trained."""
        spare = int(np.bincount(self.calibration.labels).max()) > self.references
        return spare or way.method == "xmask" or way.allocate == "xpruner"

    def ways(self) -> tuple[Way, ...]:
        """The ways that are compared."""
        return (
            Way("magnitude", "magnitude"),
            Way("taylor", "taylor"),
            Way("lrp", "lrp"),
            Way("xmask", "xmask", options=self.masks),
            Way("xmask, learned rates", "xmask", "xpruner", self.masks),
            Way("taylor, learned rates", "taylor", "xpruner"),
        )

    def variants(self) -> tuple[Way, ...]:
        """Masks with other options, by which the defaults were chosen."""
        options: dict[str, dict[str, Any]] = {
            "smooth along units": {"smooth": "units"},
            "not smoothed": {"smoothness": 0.0},
            "smoother classes": {"smoothness": 1e-2},
            "smoother units": {"smooth": "units", "smoothness": 1e-2},
            "sparsity 3e-4": {"sparsity": 3e-4},
            "rank 2": {"rank": 2},
        }
        return tuple(Way(f"xmask, {name}", "xmask", options={**self.masks, **part}) for name, part in options.items())


def swin(data: Path, weights: Path | None) -> Task:
    """The Swin that `train_swin_cifar` has trained, judged on 200 test images of each class."""
    held_out = images_of(data, "test")
    judged = Loader(held_out, TRANSFORM, 100, few_shot(held_out.labels, 200))
    kinds: tuple[Kind, ...] = ("mlp_hidden", "qk_dim", "v_dim")
    return Task(
        *("Swin on CIFAR-10", cifar_swin(weights), TRANSFORM, kinds, images_of(data, "train"), judged),
        references=30,
        macs=(0.25, 0.4),
        masks={"precision": "bf16"},
        epochs=3,
        tuned=100,
        rates=Xpruner(),
    )


def ten(data: Path, _weights: Path | None = None) -> Task:
    """DeiT-Tiny cut to Imagenette's ten classes, judged on all 50 held-out images of each."""
    images = open_data(str(data / "imagenette"))
    logits = logits_of(images.classes, images.classes, CLASSES)
    model = specialised(_deit(data), Classes(CLASSES, tuple(logits), images.classes))
    transform = transform_for(model)
    judged = Loader(images.evaluation, transform, 50)
    return Task(
        *("DeiT-Tiny, ten classes", model, transform, ("head", "mlp_hidden"), images.calibration, judged),
        references=10,
        macs=(0.5, 0.7),
        masks={"precision": "bf16"},
        epochs=1,
        tuned=60,
    )


def thousand(data: Path, _weights: Path | None = None) -> Task:
    """DeiT-Tiny with all classes: an image of each to score with, another to judge by; low-rank masks, no tuning."""
    images = open_data(
        DataSpec(calibration=str(data / "imagenet-train1000"), evaluation=str(data / "imagenet-val1000"))
    )
    model = _deit(data)
    transform = transform_for(model)
    judged = Loader(images.evaluation, transform, 50)
    return Task(
        *("DeiT-Tiny, 1,000 classes", model, transform, ("head", "mlp_hidden"), images.calibration, judged),
        references=1,
        macs=(0.75, 0.6, 0.5),
        masks={"epochs": 2},
        epochs=0,
        tuned=0,
    )


def _deit(data: Path) -> nn.Module:
    return create_model(DEIT, weights=str(data / f"weights/{DEIT}.safetensors"))


TASKS = {task.__name__: task for task in (swin, ten, thousand)}
