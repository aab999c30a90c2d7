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

    >>> repaired = sc.compensate(small, model, plan, loader, sc.Compensation(ridge=1e-3))
    """

    ridge: Annotated[float, Range(0)] | None = None
    """The ridge of the regression, as a share of the mean variance; null: chosen for each layer on held-out images."""
    front_to_back: bool = True
    """Whether layers are adapted, one after the other, to what the pruned model feeds them."""
    adapt_statistics: bool = False
    """Whether statistics of batch normalisations become those of the calibration images: only where these are of the
    kind that the model will meet; otherwise they are moved by what pruning has changed.
    """

    def __post_init__(self) -> None:
        check_fields(self, "recover", RecipeError)


@dataclass(frozen=True)
class DistillSpec:
    """Distillation from the dense model for `epochs` passes over the calibration images (0: none).

    The small model learns the dense one's logits and features, and with `labels` those of the images too, by AdamW with
    a cosine schedule.

    >>> sc.DistillSpec(epochs=10, lr=5e-5).batch_size
    64
    """

    epochs: Annotated[int, Range(0)] = 0
    """Passes over the calibration images in which the dense model teaches the small one; 0 for none."""
    batch_size: Count = 64
    """Images of one step, whatever the number of processes and of accumulated parts."""
    accumulate: Count = 1
    """In how many parts a step's images go through the model, for little memory."""
    lr: Annotated[float, Range(0)] = 1e-4
    """The learning rate of AdamW, from which a cosine schedule falls."""
    weight_decay: Annotated[float, Range(0)] = 0.05
    """The weight decay of AdamW."""
    warmup: Share = 0.05
    """The share of all steps in which the learning rate rises."""
    clip: Annotated[float, Range(0, strict=True)] = 1.0
    """The norm to which gradients are clipped."""
    temperature: Annotated[float, Range(1e-3)] = 2.0
    """The temperature of both models' logits."""
    features: Annotated[float, Range(0)] = 1.0
    """The weight of the features' error beside that of the logits."""
    labels: Share = 0.0
    """The share of the loss that is the labels' own cross-entropy: 0 looks at no label, and 1, with `features` 0, is
    plain fine-tuning.
    """
    mix: Share = 0.5
    """The share of images that are mixed with another one, half of them by mixup and half by cutmix."""
    scale: Annotated[float, Range(0.01, 1)] = 0.5
    """The least share of the picture that a random crop takes."""
    flip: Share = 0.5
    """The chance that an image is mirrored."""
    augment: str = ""
    """A policy of timm such as `rand-m9-mstd0.5`; empty for none."""
    ema: Annotated[float, Range(0, 0.999999)] = 0.99
    """The decay of the average of the weights that is kept; 0 for none."""
    precision: Literal["no", "bf16", "fp16"] = "no"
    """The type that the models are run in."""
    workers: Annotated[int, Range(0)] = 0
    """Processes that load images beside the main one."""
    checkpoint_steps: Count = 50
    """After how many steps the work is saved, from which a stopped run goes on."""

    def __post_init__(self) -> None:
        check_fields(self, "recover.distill", RecipeError)
        if self.augment:
            _check_policy(self.augment, "recover.distill.augment")


@dataclass(frozen=True)
class ReconstructSpec:
    """Blocks taught by the dense model's blocks, for at most `epochs` passes over the calibration images (0: none).

    No label is looked at. `temperature`, `scale`, `flip`, `mix` and `augment` are those of distillation.

    >>> sc.ReconstructSpec(epochs=20).batch_size
    50
    """

    epochs: Annotated[int, Range(0)] = 0
    """At most so many passes over the calibration images in which the dense model's blocks teach the small ones; 0 for
    none.
    """
    batch_size: Count = 50
    """Images of one step."""
    lr: Annotated[float, Range(0, strict=True)] | None = None
    """The learning rate; null: chosen on the images that are held out."""
    held_out: Annotated[float, Range(0, 0.9, strict=True)] = 0.1
    """The share of the images that chooses the learning rate, the pass that is kept, and when to stop."""
    features: Annotated[float, Range(0)] = 1.0
    """The weight of the blocks' errors beside that of the answers."""
    temperature: Annotated[float, Range(1e-3)] = 1.0
    """The temperature of both models' logits."""
    mix: Share = 0.0
    """The share of images that are mixed with another one, half of them by mixup and half by cutmix."""
    scale: Annotated[float, Range(0.01, 1)] = 0.5
    """The least share of the picture that a random crop takes."""
    flip: Share = 0.5
    """The chance that an image is mirrored."""
    augment: str = ""
    """A policy of timm such as `rand-m9-mstd0.5`; empty for none."""
    ema: Annotated[float, Range(0, 0.999999)] = 0.9
    """The decay of the average of the weights; 0 for none."""
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    """The type that the models are run in; `auto` is bf16 where the device multiplies it several times as fast as fp32.
    """
    workers: Annotated[int, Range(0)] = 0
    """Processes that load images beside the main one."""

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
    """How the rest is repaired: by compensation, if at all.

    Then its blocks are taught for `reconstruct.epochs`, and the result is distilled for `distill.epochs`. Raises
    `RecipeError` for a value out of its range.
    """

    compensate: bool = True
    """Whether the surviving weights take over, by ridge regression, what the removed units contributed."""
    samples_per_class: Annotated[int, Range(0)] = 0
    """How many calibration images of each class the regression looks at; 0 for all."""
    batch_size: Count = 32
    """How many images go through the model at a time."""
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
