"""Distillation in a run, by one process or by all that a launcher started.

`secateur recover RUN` and `accelerate launch -m secateur recover RUN` do the same.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable

import torch
from torch import nn

from secateur.pipeline.recover.distill import CHECKPOINT, distill, make_accelerator
from secateur.pipeline.runs.distributed import together
from secateur.pipeline.runs.inputs import Inputs
from secateur.pipeline.structure.storage import load, save

START = "undistilled"
KEPT = (CHECKPOINT, f"{START}/*")
"""What a distillation that is stopped leaves behind."""


def distill_run(inputs: Inputs, small: nn.Module, say: Callable[[str], None] = lambda message: None) -> nn.Module:
    """The run's compensated model, distilled on all calibration images; every process gets the same one."""
    spec = inputs.recipe.recover.distill
    accelerator = make_accelerator(spec, cpu=not torch.cuda.is_available())
    images, transform, task = inputs.calibration_images, inputs.transform, inputs.model_task
    folder, seed = inputs.working_folder, inputs.recipe.seed
    return distill(small, inputs.dense, images, spec, transform, folder, seed, accelerator, say, task)


def distill_together(inputs: Inputs, small: nn.Module, say: Callable[[str], None]) -> nn.Module:
    """What the first process does: it hands `small` to the others, and all distil it."""
    save(small, inputs.working_folder / START)
    with together(inputs.task()):
        result = distill_run(inputs, small, say)
    shutil.rmtree(inputs.working_folder / START)
    return result


def help_distilling(inputs: Inputs) -> None:
    """What every other process does then."""
    distill_run(inputs, load(inputs.working_folder / START, inputs.factory))
