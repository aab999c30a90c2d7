"""Distillation from the dense model: one CPU to many machines by the same code, and exact resume."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from secateur.core.checkpoints import Checkpoint, weights_hash
from secateur.core.errors import DataError, ModelError, RunError
from secateur.core.files import sha256_json
from secateur.core.model_inputs import tensors_in
from secateur.core.modules import copied, device_of
from secateur.core.say import Say
from secateur.pipeline.data.dataset import Dataset
from secateur.pipeline.data.images import Images
from secateur.pipeline.data.transform import Transform
from secateur.pipeline.models.inputs import transform_for
from secateur.pipeline.recover.augmentation import Key, Views, seeded
from secateur.pipeline.recover.spec import DistillSpec
from secateur.pipeline.tasks.classify import Classify
from secateur.pipeline.tasks.task import Task

if TYPE_CHECKING:
    from accelerate import Accelerator

CHECKPOINT = "distill.pt"
EPOCHS = 10


def distill(
    small: nn.Module,
    dense: nn.Module,
    images: Images | Dataset,
    spec: DistillSpec | None = None,
    transform: Transform | None = None,
    folder: Path | None = None,
    seed: int = 0,
    accelerator: Accelerator | None = None,
    say: Say = lambda message: None,
    task: Task | None = None,
) -> nn.Module:
    """A copy of `small` taught by `dense` on augmented `images`, its weights averaged along the way.

    Of a data set, the calibration images teach. Without a `spec` it takes `EPOCHS` passes over them, and without a
    `transform` the preprocessing that the dense model was trained with. With a `folder`, a checkpoint lies there from
    time to time, and a run that was stopped goes on from it with the same result. All processes of `accelerator` take
    part; the result does not depend on their number but for rounding. Of a model that is no classifier, `task` says how
    far its answers are from the teacher's, and what its labels teach. Raises `DataError` for fewer images than a step
    takes, `RunError` for a batch that the processes cannot share, and `ModelError` for a model all of which is frozen,
    or that takes more than images.

    >>> data = sc.open_data("digits")
    >>> dense = sc.create_model("vit_tiny_patch16_224", in_chans=1, img_size=8, patch_size=4, embed_dim=48, depth=1)
    >>> taught = sc.distill(dense, dense, data.evaluation, sc.DistillSpec(epochs=1, batch_size=128))
    >>> taught(torch.zeros(1, 1, 8, 8)).shape
    torch.Size([1, 1000])
    """
    spec = spec or DistillSpec(epochs=EPOCHS)
    images = images.calibration if isinstance(images, Dataset) else images
    transform, measure = transform or transform_for(dense), task or Classify()
    accelerator = accelerator or make_accelerator(spec, device_of(small).type == "cpu")
    parts = accelerator.num_processes * spec.accumulate
    if spec.batch_size % parts:
        raise RunError(
            f"the batch of {spec.batch_size} cannot be shared by {accelerator.num_processes} processes and "
            f"{spec.accumulate} accumulated parts: give recover.distill.batch_size as a multiple of {parts}"
        )
    if spec.batch_size == parts and any(isinstance(part, _BatchNorm) for part in small.modules()):
        raise RunError(
            f"the batch of {spec.batch_size} leaves one image to each process and part, but the model's batch "
            "normalisation needs two: give a larger recover.distill.batch_size"
        )
    steps = len(images) // spec.batch_size * spec.epochs
    if spec.epochs and not steps:
        raise DataError(f"{len(images)} images are fewer than recover.distill.batch_size = {spec.batch_size}")
    check_takes_images(dense)
    say_what_is_frozen(small, say)
    student = copied(small).train()
    keep = get_ema_multi_avg_fn(spec.ema)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    average = AveragedModel(student, multi_avg_fn=keep, use_buffers=True)
    optimizer = create_optimizer_v2(student, opt="adamw", lr=spec.lr, weight_decay=spec.weight_decay)
    average.to(accelerator.device)
    frozen = copied(dense).eval().requires_grad_(False)
    teacher = accelerator.prepare_model(Outputs(frozen), evaluation_mode=True)  # of the same precision
    pair, optimizer = accelerator.prepare(Outputs(student), optimizer)
    schedule = CosineLRScheduler(
        optimizer, max(steps, 1), lr_min=spec.lr / 100, warmup_t=round(spec.warmup * steps), t_in_epochs=False
    )
    place = None
    if folder:
        lesson = [asdict(replace(spec, workers=0)), seed, images.fingerprint(), str(transform)]
        place = Checkpoint(folder / CHECKPOINT, sha256_json([*lesson, weights_hash(small), weights_hash(dense)]))
    parts_of = {"student": student, "average": average, "optimizer": optimizer}
    done = place.load(parts_of) if place else 0
    batches = views_of(images, transform, spec, seed, done, steps, accelerator)
    for step in range(done, steps):
        schedule.step_update(step)
        total = 0.0
        with seeded(seed + step):
            for _ in range(spec.accumulate):
                with accelerator.accumulate(pair):
                    views, shown = (part.to(accelerator.device) for part in next(batches))
                    loss = loss_of(pair, teacher, views, shown, spec, measure)
                    accelerator.backward(loss)
                    if accelerator.sync_gradients:
                        accelerator.clip_grad_norm_(pair.parameters(), spec.clip)
                    optimizer.step()
                    optimizer.zero_grad()
                total += float(loss.detach()) / spec.accumulate
        average.update_parameters(accelerator.unwrap_model(pair).model)
        say(f"step {step + 1} of {steps}: loss {total:.4f}")
        if place and (step + 1) % spec.checkpoint_steps == 0 and accelerator.is_main_process:
            place.save(parts_of, step + 1)
    result = average.module if spec.ema else accelerator.unwrap_model(pair).model
    accelerator.wait_for_everyone()
    if place and accelerator.is_main_process:
        place.path.unlink(missing_ok=True)
    return copied(result).to(device_of(small)).train(small.training)


def check_takes_images(model: nn.Module) -> None:
    """Raises `ModelError` for a model that cannot be called with images alone."""
    every = inspect.signature(model.forward).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    needed = [one.name for one in every if one.default is inspect.Parameter.empty and one.kind in kinds]
    if len(needed) > 1:
        raise ModelError(
            f"distillation teaches by images alone, but the {type(model).__name__} takes {', '.join(needed)}: wrap "
            "both models in a module that takes the images and fills in the rest"
        )


def say_what_is_frozen(model: nn.Module, say: Say) -> None:
    """Names what will not learn; raises `ModelError` where nothing would."""
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    count = len(list(model.parameters()))
    if len(frozen) == count:
        raise ModelError(
            f"all {count} parameters of the {type(model).__name__} are frozen, so that it cannot be taught: call its "
            "requires_grad_(True) first"
        )
    if frozen:
        say(f"{len(frozen)} of {count} parameters are frozen and stay as they are: {frozen[0]} to {frozen[-1]}")


def make_accelerator(spec: DistillSpec, cpu: bool) -> Accelerator:
    """The processes that this one was launched with, or itself alone.

    Accelerate keeps one precision for a whole program; that of an earlier distillation gives way to another one here.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, is_initialized

    if is_initialized() and AcceleratorState().mixed_precision != spec.precision:
        AcceleratorState._reset_state()  # it has no public name; the processes' own state stays
    return Accelerator(cpu=cpu, mixed_precision=spec.precision, gradient_accumulation_steps=spec.accumulate)


class Outputs(nn.Module):
    """A model that returns its features beside its logits, through one call that data parallelism can see."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.splits = all(hasattr(model, name) for name in ("forward_features", "forward_head"))

    def forward(self, images: Tensor) -> tuple[Any, Any]:
        """Features `[B, ...]` before the head, one tensor or several, and what the model returns.

        A model without such halves has no features.
        """
        if not self.splits:
            return None, self.model(images)
        features = self.model.forward_features(images)  # type: ignore[operator]  # nn.Module knows tensors and modules
        return features, self.model.forward_head(features)  # type: ignore[operator]  # likewise


def loss_of(
    pair: nn.Module, teacher: nn.Module, images: Tensor, shown: Tensor, spec: DistillSpec, task: Task
) -> Tensor:
    """T^2 KL(teacher || student) of the softened predictions, and the features' squared error, averaged over images.

    The share `spec.labels` of the first is the cross-entropy of the classes `shown` `[B, classes]` instead. Of a model
    that is no classifier, these are the divergence and the loss of its task. An image's error is taken relative to
    the variance of the teacher's features, added up over the branches of models that have several, and left out where
    the widths differ or the models do not tell features from the head (Hinton et al., 2015, arXiv 1503.02531).
    """
    with torch.no_grad():
        goal_features, goal = teacher(images)
    features, logits = pair(images)
    soft = spec.temperature
    loss = soft**2 * task.divergence(logits, goal, soft).mean()
    if spec.labels:
        loss = (1 - spec.labels) * loss + spec.labels * task.losses(logits, shown).mean()
    for made, goals in zip(tensors_in(features), tensors_in(goal_features), strict=False):
        if spec.features and made.shape == goals.shape:
            wanted = goals.float().flatten(1)
            gaps = (made.float().flatten(1) - wanted).square().mean(1) / wanted.var(1).clamp_min(1e-12)
            loss = loss + spec.features * gaps.mean()
    return loss


def views_of(
    images: Images,
    transform: Transform,
    spec: DistillSpec,
    seed: int,
    done: int,
    steps: int,
    accelerator: Accelerator,
) -> Iterator[tuple[Tensor, Tensor]]:
    """This process's part of every step from `done` on, in `spec.accumulate` pieces: images and the classes shown."""
    each = len(images) // spec.batch_size
    pieces: list[list[Key]] = []
    for step in range(done, steps):
        epoch, number = divmod(step, each)
        order = np.random.default_rng((seed, epoch)).permutation(len(images))
        whole = [(epoch, int(index)) for index in order[number * spec.batch_size : (number + 1) * spec.batch_size]]
        mine = whole[accelerator.process_index :: accelerator.num_processes]
        size = len(mine) // spec.accumulate
        pieces += [mine[start : start + size] for start in range(0, len(mine), size)]
    views = Views(images, transform, spec, seed)
    yield from DataLoader(views, batch_sampler=pieces, num_workers=spec.workers)
