"""Trains a small Swin on CIFAR-10: timm's class with 2 million parameters, shifted windows and patch merging.

`python -m secateur.benchmarks.train_swin_cifar --data ../shared/data --out swin_cifar10.safetensors` takes the 10,000
training images there and prints top-1 on the 10,000 test images: an own baseline, not a published one. A training
that was stopped starts again.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from timm.scheduler import CosineLRScheduler
from torch import Tensor, nn

from secateur.benchmarks.cnn_curves import MEAN, STD, cifar10_images
from secateur.pipeline.data.images import ArrayImages
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.data.transform import Transform
from secateur.pipeline.files import write_tensors
from secateur.pipeline.models import create_model
from secateur.pipeline.runs.evaluate import top1

NAME = "swin_tiny_patch4_window7_224"
KWARGS: dict[str, Any] = {
    "img_size": 32,
    "patch_size": 4,
    "window_size": 4,
    "embed_dim": 96,
    "depths": [2, 4],
    "num_heads": [3, 6],
    "num_classes": 10,
}
TRANSFORM = Transform((3, 32, 32), MEAN, STD, crop_pct=1.0)
BATCH, LR, WEIGHT_DECAY, SMOOTHING = 100, 1e-3, 0.05, 0.1
PADDING = 4


def cifar_swin(weights: Path | None = None) -> nn.Module:
    """The Swin for 32 x 32 images, with the weights that this script has written."""
    return create_model(NAME, weights, **KWARGS)


def images_of(data: Path, side: str) -> ArrayImages:
    """All 10,000 images of one side, `train` or `test`."""
    return cifar10_images(data / "cifar10", side, 0)


def augmented(pixels: NDArray[np.uint8], draws: np.random.Generator) -> Tensor:
    """A batch `[B, 3, 32, 32]`: each image shifted by up to `PADDING` pixels and mirrored half of the time."""
    padded = np.pad(pixels, ((0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0)), mode="reflect")
    views = []
    for image in padded:
        top, left = draws.integers(2 * PADDING + 1, size=2)
        view = image[top : top + pixels.shape[1], left : left + pixels.shape[2]]
        views.append(view[:, ::-1] if draws.random() < 0.5 else view)
    batch = torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2).float() / 255
    return (batch - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def train(images: ArrayImages, epochs: int, seed: int) -> nn.Module:
    """The Swin after so many passes over the images: AdamW, cosine schedule, smoothed labels."""
    torch.manual_seed(seed)
    model, draws = cifar_swin().train(), np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(model.parameters(), LR, weight_decay=WEIGHT_DECAY)
    steps = len(images) // BATCH * epochs
    schedule = CosineLRScheduler(optimizer, steps, lr_min=LR / 100, warmup_t=steps // 20, t_in_epochs=False)
    labels, step, started = torch.from_numpy(images.labels), 0, time.perf_counter()
    for epoch in range(epochs):
        losses = []
        for part in np.array_split(draws.permutation(len(images)), len(images) // BATCH):
            schedule.step_update(step)
            step += 1
            logits = model(augmented(images.pixels[part], draws))
            loss = F.cross_entropy(logits, labels[part], label_smoothing=SMOOTHING)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
            losses.append(loss.item())
        seconds = time.perf_counter() - started
        click.echo(f"epoch {epoch + 1} of {epochs}: loss {np.mean(losses):.3f} after {seconds:.0f} s", err=True)
    return model.eval()


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Weights and images.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where the weights go, as .safetensors.")
@click.option("--epochs", default=12, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(data: Path, out: Path, epochs: int, seed: int) -> None:
    """Trains, writes the weights and prints top-1 on the test images."""
    model = train(images_of(data, "train"), epochs, seed)
    accuracy = top1(model, Loader(images_of(data, "test"), TRANSFORM, 100))
    write_tensors(out, model.state_dict(), {"top1": f"{accuracy:.2f}"})
    click.echo(f"{out}: top-1 {accuracy:.2f} % on 10,000 test images")


if __name__ == "__main__":
    main()
