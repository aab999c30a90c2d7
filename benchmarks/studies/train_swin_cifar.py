"""Trains a small Swin on CIFAR-10: timm's class with 2 million parameters, shifted windows and patch merging.

`python -m secateur_studies.train_swin_cifar --data ../shared/data --out swin_cifar10.safetensors` takes the 10,000
training images there, has the ResNet-20 of `weights/` teach (10,000 images are few for attention alone), and prints
top-1 on the 10,000 test images: an own baseline, not a published one. A training that was stopped goes on.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch
from secateur_studies.cifar_resnet import cifar_resnet
from secateur_studies.cnn_curves import MEAN, STD, cifar10_images
from torch import nn

from secateur.core.files import write_tensors
from secateur.pipeline.analysis.accuracy import accuracy
from secateur.pipeline.data.images import ArrayImages
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.data.transform import Transform
from secateur.pipeline.models.create import create_model
from secateur.pipeline.recover.distill import distill
from secateur.pipeline.recover.spec import DistillSpec

NAME = "swin_tiny_patch4_window7_224"
KWARGS: dict[str, Any] = {
    "img_size": 32,
    "patch_size": 2,
    "window_size": 4,
    "embed_dim": 48,
    "depths": [2, 2, 4],
    "num_heads": [2, 4, 8],
    "num_classes": 10,
}
TRANSFORM = Transform((3, 32, 32), MEAN, STD, crop_pct=1.0)
LESSON = DistillSpec(batch_size=100, lr=1e-3, temperature=2.0, features=0.0, mix=0.5, scale=0.6, precision="bf16")


def cifar_swin(weights: Path | None = None) -> nn.Module:
    """The Swin for 32 x 32 images, with the weights that this script has written."""
    return create_model(NAME, weights, **KWARGS)


def images_of(data: Path, side: str) -> ArrayImages:
    """All 10,000 images of one side, `train` or `test`."""
    return cifar10_images(data / "cifar10", side, 0)


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Weights and images.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where the weights go, as .safetensors.")
@click.option("--epochs", default=50, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(data: Path, out: Path, epochs: int, seed: int) -> None:
    """Trains, writes the weights and prints top-1 on the test images."""
    torch.manual_seed(seed)
    teacher = cifar_resnet(data / "weights/cifar10_resnet20.safetensors")
    model = distill(
        *(cifar_swin(), teacher, images_of(data, "train"), replace(LESSON, epochs=epochs), TRANSFORM, out.parent, seed),
        say=lambda message: click.echo(message, err=True),
    )
    top1 = accuracy(model.eval(), Loader(images_of(data, "test"), TRANSFORM, 100))
    write_tensors(out, model.state_dict(), {"top1": f"{top1:.2f}"})
    click.echo(f"{out}: top-1 {top1:.2f} % on 10,000 test images")


if __name__ == "__main__":
    main()
