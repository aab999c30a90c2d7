"""How a pruned model is distilled: the part of a recipe under `recover.distill`."""

from __future__ import annotations

from dataclasses import dataclass

from secateur.core.errors import RecipeError
from secateur.core.ranges import Range, check_ranges

PRECISIONS = ("no", "bf16", "fp16")


@dataclass(frozen=True)
class DistillSpec:
    """Distillation from the dense model for `epochs` passes over the calibration images (0: none).

    `labels` is the share of the loss that is the images' own labels' cross-entropy instead (0: no labels are looked
    at; 1, with `features` 0: plain fine-tuning).
    `batch_size` images make one step, whatever the number of processes and of `accumulate`d parts. AdamW with a
    cosine schedule from `lr` after `warmup` (a share of all steps). `temperature` is that of the logits, `features`
    the weight of the features' error beside them. `mix` is the share of images mixed with another one, half by mixup
    and half by cutmix; `scale` the least share of the picture that a crop takes, `flip` the chance of mirroring,
    `augment` a policy of timm such as `rand-m9-mstd0.5`. `ema` is the decay of the average that is kept (0: none).
    """

    epochs: int = 0
    batch_size: int = 64
    accumulate: int = 1
    lr: float = 1e-4
    weight_decay: float = 0.05
    warmup: float = 0.05
    clip: float = 1.0
    temperature: float = 2.0
    features: float = 1.0
    labels: float = 0.0
    mix: float = 0.5
    scale: float = 0.5
    flip: float = 0.5
    augment: str = ""
    ema: float = 0.99
    precision: str = "no"
    workers: int = 0
    checkpoint_steps: int = 50

    def __post_init__(self) -> None:
        ranges = {
            "epochs": Range(0),
            "batch_size": Range(1),
            "accumulate": Range(1),
            "lr": Range(0),
            "warmup": Range(0, 1),
            "temperature": Range(1e-3),
            "features": Range(0),
            "labels": Range(0, 1),
            "mix": Range(0, 1),
            "scale": Range(0.01, 1),
            "flip": Range(0, 1),
            "ema": Range(0, 0.999999),
            "workers": Range(0),
            "checkpoint_steps": Range(1),
        }
        check_ranges(self, "recover.distill", ranges, RecipeError)
        if self.precision not in PRECISIONS:
            raise RecipeError(f"recover.distill.precision is {self.precision!r}, but must be {', '.join(PRECISIONS)}")
