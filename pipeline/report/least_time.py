"""How long the stages of a run take at least: by a batch of its images that is timed here, and by nothing else."""

from __future__ import annotations

from time import perf_counter

import numpy as np
import torch
from torch import nn

from secateur.core.model_inputs import call, moved, samples_of
from secateur.core.modules import device_of, evaluating
from secateur.pipeline.data.loader import Batches, Loader
from secateur.pipeline.runs.context import Run

TIMED = 16
"""How many images are read and go through the dense model."""


def seconds_per_image(run: Run) -> float:
    """The time in which one calibration image is read and goes through the dense model once."""
    images = run.data.calibration
    few = Loader(images, run.transform, TIMED, np.arange(min(TIMED, len(images))))
    return timed_pass(run.dense, few)


def timed_pass(model: nn.Module, loader: Batches) -> float:
    """The seconds for each image of the loader's first batch, read and answered: the faster of two times."""
    return min(_seconds(model, loader), _seconds(model, loader))


def _seconds(model: nn.Module, loader: Batches) -> float:
    begun = perf_counter()
    images, _ = next(iter(loader))
    with evaluating(model), torch.no_grad():
        found = call(model, moved(images, device_of(model)))
    for tensor in found if isinstance(found, tuple | list) else [found]:
        if isinstance(tensor, torch.Tensor):
            tensor.cpu()  # waits for an accelerator
    return (perf_counter() - begun) / samples_of(images)


def passes(run: Run) -> dict[str, int]:
    """How many images go through the dense model at least, for each stage of which that is known.

    Methods go through them once or more; what gradients, linear algebra, graphs and engines take besides is not known
    before.
    """
    score, recover = run.recipe.score, run.recipe.recover
    found = {"score": 0, "recover": 0, "bench": len(run.data.evaluation)}
    if score.made().explains:
        found["score"] = run.calibration(score.samples_per_class, score.batch_size).samples
    if recover.compensate:
        found["recover"] = run.calibration(recover.samples_per_class, recover.batch_size).samples
    found["recover"] += recover.distill.epochs * len(run.data.calibration)
    return {stage: count for stage, count in found.items() if count}
