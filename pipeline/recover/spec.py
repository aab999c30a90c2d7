"""How a pruned model is repaired: the part of a recipe under `recover`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from secateur.core.errors import RecipeError
from secateur.core.options import check_fields
from secateur.core.ranges import Range

Share = Annotated[float, Range(0, 1)]
Count = Annotated[int, Range(1)]


@dataclass(frozen=True)
class Compensation:
    """Closed-form repair: by this `ridge`, or without it by one that images held out choose for each layer.

    `front_to_back` adapts layers to what the pruned model feeds them. `adapt_statistics` replaces the statistics of
    batch normalisations by those of the images that are given: only for images of the kind that the model will meet,
    where the dense model was trained on others. By default they are moved by what pruning has changed.

    >>> repaired = sc.compensate(small, model, plan, loader, sc.Compensation(ridge=1e-3))
    """

    ridge: Annotated[float, Range(0)] | None = None
    front_to_back: bool = True
    adapt_statistics: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "recover", RecipeError)


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

    >>> sc.DistillSpec(epochs=10, lr=5e-5).batch_size
    64
    """

    epochs: Annotated[int, Range(0)] = 0
    batch_size: Count = 64
    accumulate: Count = 1
    lr: Annotated[float, Range(0)] = 1e-4
    weight_decay: Annotated[float, Range(0)] = 0.05
    warmup: Share = 0.05
    clip: Annotated[float, Range(0, strict=True)] = 1.0
    temperature: Annotated[float, Range(1e-3)] = 2.0
    features: Annotated[float, Range(0)] = 1.0
    labels: Share = 0.0
    mix: Share = 0.5
    scale: Annotated[float, Range(0.01, 1)] = 0.5
    flip: Share = 0.5
    augment: str = ""
    ema: Annotated[float, Range(0, 0.999999)] = 0.99
    precision: Literal["no", "bf16", "fp16"] = "no"
    workers: Annotated[int, Range(0)] = 0
    checkpoint_steps: Count = 50

    def __post_init__(self) -> None:
        check_fields(self, "recover.distill", RecipeError)
        if self.augment:
            _check_policy(self.augment, "recover.distill.augment")


@dataclass(frozen=True)
class ReconstructSpec:
    """Blocks taught by the dense model's blocks, for at most `epochs` passes over the calibration images (0: none).

    No label is looked at. The share `held_out` of the images chooses the learning rate where `lr` gives none, the pass
    that is kept, and when it stops. `features` is the weight of the blocks'
    errors beside the answers', `ema` the decay of the average of the weights (0: none). `temperature`, `scale`, `flip`,
    `mix` and `augment` are those of distillation. `precision` "auto" is bf16 where the device multiplies it several
    times as fast as fp32.

    >>> sc.ReconstructSpec(epochs=20).batch_size
    50
    """

    epochs: Annotated[int, Range(0)] = 0
    batch_size: Count = 50
    lr: Annotated[float, Range(0, strict=True)] | None = None
    held_out: Annotated[float, Range(0, 0.9, strict=True)] = 0.1
    features: Annotated[float, Range(0)] = 1.0
    temperature: Annotated[float, Range(1e-3)] = 1.0
    mix: Share = 0.0
    scale: Annotated[float, Range(0.01, 1)] = 0.5
    flip: Share = 0.5
    augment: str = ""
    ema: Annotated[float, Range(0, 0.999999)] = 0.9
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    workers: Annotated[int, Range(0)] = 0

    def __post_init__(self) -> None:
        check_fields(self, "recover.reconstruct", RecipeError)
        if self.augment:
            _check_policy(self.augment, "recover.reconstruct.augment")

    def views(self, cpu: bool) -> DistillSpec:
        """How images are shown and models are run, in the words of distillation."""
        precision = self.precision
        if precision == "auto":
            precision = "bf16" if multiplies_bf16(cpu) else "no"
        return DistillSpec(
            epochs=self.epochs,
            batch_size=self.batch_size,
            mix=self.mix,
            scale=self.scale,
            flip=self.flip,
            augment=self.augment,
            precision=precision,
            workers=self.workers,
        )


@dataclass(frozen=True)
class RecoverSpec(Compensation):
    """How the rest is repaired: by compensation over `samples_per_class` images of each class (0: all), if at all.

    Then its blocks are taught for `reconstruct.epochs`, and the result is distilled for `distill.epochs`. Raises
    `RecipeError` for a value out of its range.
    """

    compensate: bool = True
    samples_per_class: Annotated[int, Range(0)] = 0
    batch_size: Count = 32
    reconstruct: ReconstructSpec = ReconstructSpec()
    distill: DistillSpec = DistillSpec()


def multiplies_bf16(cpu: bool) -> bool:
    """Whether the processor, or else the GPU, multiplies matrices of bf16 several times as fast as those of fp32."""
    import torch

    if not cpu:
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    told: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # not in every torch
    return bool(told.get("amx_bf16"))


def _check_policy(augment: str, key: str) -> None:
    """Raises `RecipeError` for a policy of augmentation that timm does not know."""
    from timm.data.transforms_factory import transforms_imagenet_train

    try:
        transforms_imagenet_train(img_size=8, auto_augment=augment)
    except Exception as error:  # timm asserts, and reads words as numbers
        raise RecipeError(
            f"{key} is {augment!r}, but must be a policy of timm such as rand-m9-mstd0.5, augmix-m3 "
            "or original, or nothing"
        ) from error
