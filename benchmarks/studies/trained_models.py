"""The models with real weights, each with images to calibrate, to score and repair by, and to judge by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from secateur_studies.cifar_resnet import cifar_resnet
from secateur_studies.cnn_curves import cifar10
from torch import nn

from secateur.pipeline.data.dataset import open_data
from secateur.pipeline.data.loader import Batches, Loader
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
REPAIRS = 500
"""Images that score and repair the pruned side."""


@dataclass(frozen=True)
class Trained:
    """A trained model, the shape of its inputs, and its images: `calibration` and `repairs` never judge."""

    model: nn.Module
    shape: tuple[int, ...]
    calibration: Batches
    repairs: Batches
    evaluation: Batches


def open_trained(name: str, data: Path, images: int, held_out: int) -> Trained:
    """A model of `TRAINED` with `images` for the calibration and `held_out` to judge by, drawn with one seed."""
    if name == CIFAR:
        model: nn.Module = cifar_resnet(data / "weights" / f"{CIFAR}.safetensors")
        parts = (("train", images), ("train", REPAIRS), ("test", held_out))
        sides = [cifar10(data / "cifar10", side, max(1, count // CIFAR_CLASSES)) for side, count in parts]
        return Trained(model, (3, 32, 32), *sides)
    found = open_data(DataSpec(calibration=str(data / "imagenet-train1000"), evaluation=str(data / "imagenet-val1000")))
    model = create_model(name, weights=str(data / "weights" / f"{name}.safetensors")).eval()
    transform, generator = transform_for(model), np.random.default_rng(0)

    def drawn(side: Any, count: int) -> Loader:
        return Loader(side, transform, BATCH, np.sort(generator.permutation(len(side))[:count]))

    calibration, repairs = (drawn(found.calibration, count) for count in (images, REPAIRS))
    return Trained(model, (3, 224, 224), calibration, repairs, drawn(found.evaluation, held_out))


def halved(task: Trained) -> nn.Module:
    """The model with half of its multiply-accumulates, by Taylor scores, repaired in closed form and not trained."""
    groups = find_groups(task.model, torch.zeros(1, *task.shape))
    scores = score(task.model, groups, task.repairs, method="taylor")
    plan = make_plan(groups, scores, Budget(macs=0.5))
    return compensate(prune(task.model, plan, groups), task.model, plan, task.repairs, groups=groups)
