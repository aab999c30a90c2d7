"""What a model reaches on images, by the metrics of its task, and a warning where a classifier might be guessing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from secateur.benchmarks.gating.matched_pairs import Pairs
from secateur.benchmarks.results_file import Compared
from secateur.core.model_inputs import call, moved
from secateur.core.modules import device_of, frozen
from secateur.pipeline.data.loader import Batches, any_batches
from secateur.pipeline.tasks.classify import Top1
from secateur.pipeline.tasks.metric import Meter, Metric
from secateur.pipeline.tasks.task import Task

UNLIKELY = 0.01
"""Accuracy that guessing reaches less often than this is not taken for guessing."""


def accuracy(model: nn.Module, loader: Batches, classes: Sequence[int] | None = None) -> float:
    """The share of images whose largest logit is their label's (top-1), in percent; see `count_right`.

    >>> from torch import nn
    >>> images = torch.tensor([[2.0, 1.0], [0.0, 3.0], [5.0, 4.0]])
    >>> accuracy(nn.Identity(), [(images, [0, 1, 1])])
    66.66666666666667
    """
    right, count = count_right(model, loader, classes)
    return 100.0 * right / count


def count_right(model: nn.Module, loader: Batches, classes: Sequence[int] | None = None) -> tuple[int, int]:
    """How many images are classified right, and of how many; other logits than those of `classes` count as -inf.

    The model runs in evaluation mode, on its device and in its precision, and is left as it was. Raises `DataError`
    when there are no images, or labels that the model has no logit for.
    """
    meter = Top1(classes)
    _answer(model, any_batches(loader), meter)
    meter.metrics()
    return meter.right, meter.count


def evaluate(model: nn.Module, loader: Batches, task: Task, classes: Sequence[str] = ()) -> tuple[Metric, ...]:
    """The metrics of a task that the model reaches on the images, the one that judges first.

    `classes` are the names in the data (of its columns, where labels are numbers). Raises `DataError` without images.

    >>> from secateur.pipeline.tasks.classify import Classify
    >>> images = torch.tensor([[2.0, 1.0], [0.0, 3.0], [5.0, 4.0]])
    >>> print(*evaluate(nn.Identity(), [(images, [0, 1, 1])], Classify()))
    top-1 accuracy 66.67 %
    """
    return measured(model, loader, task, classes).metrics()


def measured(model: nn.Module, loader: Batches, task: Task, classes: Sequence[str] = ()) -> Meter:
    """The meter of a task after it has seen what the model answers to all images; see `evaluate`."""
    meter = task.meter(classes)
    _answer(model, any_batches(loader, task.labels == "classes"), meter)
    return meter


def compared(dense: Meter, pruned: Meter, classes: Sequence[str] = ()) -> tuple[Compared, ...]:
    """What two models reach on the same images, by every metric; the first with both answers to each image, if any."""
    first, *others = (
        Compared(was.name, was.value, now.value, was.higher_is_better, was.unit)
        for was, now in zip(dense.metrics(), pruned.metrics(), strict=True)
    )
    one, other = dense.answers(), pruned.answers()
    if one is None or other is None:
        return (first, *others)
    (before, labels), (after, _) = one, other
    there = {name: labels == place for place, name in enumerate(classes) if (labels == place).any()}
    by_class = {name: _pairs(before[images], after[images]) for name, images in there.items()}
    return (replace(first, pairs=_pairs(before, after), by_class=by_class), *others)


def _pairs(before: Tensor, after: Tensor) -> Pairs:
    lost, won = (int(part.sum()) for part in (before & ~after, after & ~before))
    return Pairs(len(before), int(before.sum()), lost, won)


def _answer(model: nn.Module, loader: Batches, meter: Meter) -> None:
    """Lets a meter see all answers of the model, which runs on its device and in its precision and stays as it was."""
    device = device_of(model)
    dtype = next((tensor.dtype for tensor in model.parameters() if tensor.is_floating_point()), torch.float32)
    with frozen(model), torch.inference_mode():
        for images, labels in loader:
            meter.add(call(model, moved(images, device, dtype)), labels)


def chance_warning(top1: float, classes: int, samples: int) -> str:
    """A sentence when guessing could well reach this accuracy (in percent), and an empty string when it could not.

    A guess is right for one image in `classes`; the number of right guesses among the samples is binomial.
    """
    from scipy.stats import binom

    right = round(top1 / 100 * samples)
    if classes < 2 or binom.sf(right - 1, samples, 1 / classes) < UNLIKELY:
        return ""
    return (
        f"the dense model has {right} of {samples} images right ({top1:.1f} %), which guessing among {classes} classes "
        "reaches too: its weights or its labels are not those of these images. Classes are numbered in timm's order "
        "of their names; give data.class_map where the model knows them in another one"
    )
