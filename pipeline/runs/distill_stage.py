"""Distillation in a run, by one process or by all that a launcher started.

`secateur recover RUN` and `accelerate launch -m secateur recover RUN` do the same.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable

import torch
from torch import nn

from secateur.pipeline.models.inputs import transform_for
from secateur.pipeline.recover.distill import distill, make_accelerator
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.distributed import announce
from secateur.pipeline.structure.storage import load, save

DISTILL = "distill"
START = "undistilled"


def distill_run(run: Run, small: nn.Module, say: Callable[[str], None] = lambda message: None) -> nn.Module:
    """The run's compensated model, distilled on all calibration images; every process gets the same one."""
    spec = run.recipe.recover.distill
    accelerator = make_accelerator(spec, cpu=not torch.cuda.is_available())
    images, transform = run.data.calibration, transform_for(run.dense)
    return distill(small, run.dense, images, spec, transform, run.folder, run.recipe.seed, accelerator, say)


def distill_together(run: Run, small: nn.Module, say: Callable[[str], None]) -> nn.Module:
    """What the first process does: it hands `small` to the others, and all distil it."""
    save(small, run.folder / START)
    announce(DISTILL)
    result = distill_run(run, small, say)
    shutil.rmtree(run.folder / START)
    return result


def help_distilling(run: Run) -> None:
    """What every other process does then."""
    distill_run(run, load(run.folder / START))
