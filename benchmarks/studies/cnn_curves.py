"""A_PR of convolution channels by method: ResNet-56 on CIFAR-10, and EfficientNet-Lite0 on ImageNet's classes.

`python -m secateur_studies.cnn_curves --data ../shared/data` scores channels on 100 training images and measures
top-1 on others while channels are really removed, without repair. Every curve is saved as soon as it is there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from secateur_studies.cifar_resnet import cifar_resnet
from secateur_studies.curve_rows import BASELINES, Batches, Method, Rows, Task
from torch import Tensor

from secateur.pipeline.data.dataset import open_data
from secateur.pipeline.data.images import ArrayImages, numbered_classes
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.data.sampling import few_shot
from secateur.pipeline.data.spec import DataSpec
from secateur.pipeline.models.create import create_model
from secateur.pipeline.models.inputs import transform_for

LITE = "tf_efficientnet_lite0"
REFERENCES = 100
CIFAR_JUDGED, IMAGENET_JUDGED = 500, 200
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
METHODS = (
    *BASELINES,
    *(Method(f"lrp: {rules}", "lrp", {"composite": rules}) for rules in ("epsilon", "gamma", "z_plus", "alpha2_beta1")),
)


def cifar10(folder: Path, side: str, per_class: int) -> Batches:
    """Batches of `cifar10_images`, normalised as the ResNets were trained."""
    found = cifar10_images(folder, side, per_class)
    images, labels = torch.from_numpy(found.pixels), torch.from_numpy(found.labels)
    images = (images.permute(0, 3, 1, 2) / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    return [(images[first : first + 100], labels[first : first + 100]) for first in range(0, len(labels), 100)]


def cifar10_images(folder: Path, side: str, per_class: int) -> ArrayImages:
    """Images of one side (`train` or `test`), as many of each class (0: all), from the folder's mosaics of 500."""
    labels = np.load(folder / "labels.npz")[f"y_{side}"].astype(np.int64)
    chosen = few_shot(labels, per_class)
    mosaics = {
        number: _mosaic(folder / f"{side}_{number:03d}.webp") for number in sorted({int(i) // 500 for i in chosen})
    }
    pixels = np.stack([mosaics[int(i) // 500][int(i) % 500] for i in chosen])
    return ArrayImages(pixels, labels[chosen], numbered_classes(labels))


def _mosaic(path: Path) -> NDArray[np.uint8]:
    """The 500 images `[500, 32, 32, 3]` of a mosaic of 20 x 25."""
    with Image.open(path) as image:
        return np.asarray(image).reshape(20, 32, 25, 32, 3).transpose(0, 2, 1, 3, 4).reshape(500, 32, 32, 3)


def imagenet(data: Path, model: Any) -> tuple[Batches, Batches]:
    """Reference images and images to judge by, spread evenly over the 1,000 classes."""
    found = open_data(DataSpec(calibration=str(data / "imagenet-train1000"), evaluation=str(data / "imagenet-val1000")))

    def spread(images: Any, count: int) -> list[tuple[Tensor, Tensor]]:
        chosen = np.linspace(0, len(images) - 1, count).round().astype(int)
        return list(Loader(images, transform_for(model), 20, chosen))

    return spread(found.calibration, REFERENCES), spread(found.evaluation, IMAGENET_JUDGED)


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Weights and images.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/cnn_curves.json"))
@click.option("--random-seeds", default=2, show_default=True)
@click.option("--only", default="", help="Tasks to run, by the beginnings of their names. [default: all]")
def main(data: Path, out: Path, random_seeds: int, only: str) -> None:
    """Measures what is not in the file yet, and writes it row by row."""
    rows = Rows(out, "cnn_curves", "python -m secateur_studies.cnn_curves --data DATA")
    lite = create_model(LITE, weights=str(data / f"weights/{LITE}.safetensors")).eval()
    tasks = (
        Task(
            *("resnet56 on cifar10", cifar_resnet(data / "weights/cifar10_resnet56.safetensors")),
            *(cifar10(data / "cifar10", *part) for part in (("train", REFERENCES // 10), ("test", CIFAR_JUDGED // 10))),
        ),
        Task(f"{LITE} on imagenet", lite, *imagenet(data, lite)),
    )
    for task in (task for task in tasks if task.name.startswith(tuple(only.split(",")))):
        for method in METHODS:
            for seed in range(random_seeds if method.name == "random" else 1):
                rows.add(task, "channels", "channel", method, seed)


if __name__ == "__main__":
    main()
