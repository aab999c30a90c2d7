"""Trains the demo's vision transformer on the embedded digits; the checkpoint that it writes ships in the wheel.

`python -m secateur.pipeline.demo.train --out digits_vit.safetensors` takes some minutes on two cores and is seeded.
Only the calibration split is used; the held-out split gives the accuracy that is printed.
"""

from __future__ import annotations

import math
from pathlib import Path

import click
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.core.files import write_tensors
from secateur.pipeline.analysis.accuracy import accuracy
from secateur.pipeline.data.dataset import open_data
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.data.spec import DataSpec
from secateur.pipeline.demo.model import KWARGS, NAME
from secateur.pipeline.models.create import create_model
from secateur.pipeline.models.inputs import transform_for


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("digits_vit.safetensors"), show_default=True)
@click.option("--epochs", default=60, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(out: Path, epochs: int, seed: int) -> None:
    """Trains, prints the held-out accuracy and writes the weights as safetensors."""
    torch.manual_seed(seed)
    model = create_model(NAME, **KWARGS, drop_path_rate=0.05)
    data = open_data(DataSpec(path="digits"), seed=0)
    train(model, Loader(data.calibration, transform_for(model)), epochs, seed)
    top1 = accuracy(model, Loader(data.evaluation, transform_for(model)))
    write_tensors(out, {name: tensor.contiguous() for name, tensor in model.state_dict().items()}, {"format": "pt"})
    click.echo(f"{out}: top-1 {top1:.2f} % on the held-out digits")


def train(model: nn.Module, loader: Loader, epochs: int, seed: int, batch: int = 64, rate: float = 1.5e-3) -> nn.Module:
    """The model trained with AdamW, a cosine schedule and random affine warps."""
    batches = list(loader)
    images, labels = torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.05)
    steps = epochs * math.ceil(len(images) / batch)
    warm = max(steps // 20, 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * min(step / steps, 1)))),
    )
    model.train()
    for _ in range(epochs):
        for index in torch.split(torch.randperm(len(images), generator=generator), batch):
            loss = F.cross_entropy(model(warped(images[index], generator)), labels[index], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
            optimizer.step()
            schedule.step()
    return model.eval()


def warped(images: Tensor, generator: torch.Generator) -> Tensor:
    """The images `[B, C, H, W]` turned by up to 12 degrees, scaled by up to 15 % and shifted by up to 10 %."""
    count = len(images)

    def between(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    angle, size = between(-0.21, 0.21), between(0.87, 1.15)
    theta = torch.stack(
        [
            torch.stack([size * angle.cos(), -size * angle.sin(), between(-0.2, 0.2)], dim=1),
            torch.stack([size * angle.sin(), size * angle.cos(), between(-0.2, 0.2)], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


if __name__ == "__main__":
    main()
