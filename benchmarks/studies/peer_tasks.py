"""The models and images on which secateur and its peers are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from secateur_studies.cifar_resnet import cifar_resnet
from secateur_studies.cnn_curves import MEAN, STD, cifar10_images
from torch import Tensor, nn

from secateur.benchmarks.flops import count_macs
from secateur.pipeline.analysis.accuracy import accuracy
from secateur.pipeline.data.dataset import open_data
from secateur.pipeline.data.images import Images
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.data.spec import DataSpec
from secateur.pipeline.data.transform import Transform
from secateur.pipeline.models.create import create_model
from secateur.pipeline.models.inputs import transform_for
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups, Kind

CIFAR_CALIBRATION, CIFAR_JUDGED = 100, 100
"""Images of each class, for statistics and for accuracy."""


@dataclass(frozen=True)
class Subject:
    """A model, the kind of units that go, the images that statistics come from, and those that accuracy comes from.

    MACs are a share of those inside the modules whose names end in `within`, or in one of several such ends.
    `images` are for distillation.
    """

    model: nn.Module
    kind: Kind
    align: int
    within: str | tuple[str, ...]
    images: Images
    transform: Transform
    calibration: Loader
    judged: Loader

    @cached_property
    def example(self) -> Tensor:
        """One image of zeros."""
        return torch.zeros(1, *self.transform.shape)

    @cached_property
    def groups(self) -> Groups:
        """What secateur can remove."""
        return find_groups(self.model, self.example)

    @cached_property
    def scored(self) -> Groups:
        """The groups whose units go."""
        return replace(self.groups, groups=tuple(group for group in self.groups if group.kind == self.kind))

    @cached_property
    def macs(self) -> int:
        """The dense model's MACs by fvcore, for one image."""
        return count_macs(self.model, self.example).macs

    def limit(self, removed: float) -> float:
        """The most MACs of a small model that loses the share `removed` of those `within`."""
        if not self.within:
            return (1 - removed) * self.macs
        parts = count_macs(self.model, self.example).by_module
        return self.macs - removed * sum(macs for name, macs in parts.items() if name.endswith(self.within))

    def roots(self, units: str) -> list[str]:
        """The layers whose outputs may go: those that hold secateur's units ("same"), or all but the classifier."""
        if units == "same":
            parts = [part for group in self.scored for part in group.slices if part.dim == 0]
            return [part.tensor.removesuffix(".weight") for part in parts if part.tensor.endswith(".weight")]
        layers = [name for name, module in self.model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
        return layers[:-1]

    def about(self) -> dict[str, object]:
        """The dense model's row."""
        images = {"calibration_images": self.calibration.samples, "images": self.judged.samples}
        return {"macs": self.macs, "top1": accuracy(self.model, self.judged), **images}


def _imagenet(data: Path, name: str, kind: Kind, within: str) -> Subject:
    model = create_model(name, weights=str(data / f"weights/{name}.safetensors")).eval()
    found = open_data(DataSpec(calibration=str(data / "imagenet-train1000"), evaluation=str(data / "imagenet-val1000")))
    transform = transform_for(model)
    loaders = [Loader(images, transform, 25) for images in (found.calibration, found.evaluation)]
    return Subject(model, kind, 8, within, found.calibration, transform, *loaders)


def deit_tiny(data: Path) -> Subject:
    """DeiT-Tiny without some of its MLP hidden units."""
    return _imagenet(data, "deit_tiny_patch16_224", "mlp_hidden", ".mlp")


def efficientnet_lite0(data: Path) -> Subject:
    """EfficientNet-Lite0 without some of its channels."""
    return _imagenet(data, "tf_efficientnet_lite0", "channel", "")


def resnet56(data: Path) -> Subject:
    """ResNet-56 on CIFAR-10 without some of its channels."""
    model = cifar_resnet(data / "weights/cifar10_resnet56.safetensors")
    transform = Transform((3, 32, 32), MEAN, STD)
    images = cifar10_images(data / "cifar10", "train", 0)
    statistics = cifar10_images(data / "cifar10", "train", CIFAR_CALIBRATION)
    judged = cifar10_images(data / "cifar10", "test", CIFAR_JUDGED)
    loaders = [Loader(part, transform, 100) for part in (statistics, judged)]
    return Subject(model, "channel", 1, "", images, transform, *loaders)


TASKS: dict[str, Callable[[Path], Subject]] = {
    "resnet56": resnet56,
    "deit_tiny": deit_tiny,
    "efficientnet_lite0": efficientnet_lite0,
}
