"""What a run's dense model teaches the pruned one: reconstruction, then distillation, by all processes launched.

`secateur recover RUN` and `accelerate launch -m secateur recover RUN` do the same.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence

import torch
from torch import nn

from secateur.core.say import Say
from secateur.pipeline.recover import distill, reconstruct
from secateur.pipeline.recover.reconstruct import Reconstruction, rebuild, split
from secateur.pipeline.recover.spec import RecoverSpec
from secateur.pipeline.runs.distributed import together
from secateur.pipeline.runs.inputs import Inputs
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.structure.storage import load, save

START, PLAN = "untaught", "plan.json"
KEPT = (distill.CHECKPOINT, reconstruct.CHECKPOINT, f"{START}/*")
"""What teaching that is stopped leaves behind."""


def teaches(spec: RecoverSpec) -> bool:
    """Whether there is anything to teach."""
    return bool(spec.reconstruct.epochs or spec.distill.epochs)


def held_out_of(inputs: Inputs) -> Sequence[int]:
    """The calibration images that judge reconstruction, which no repair before it may see; none without it."""
    spec = inputs.recipe.recover.reconstruct
    if not spec.epochs:
        return ()
    held: list[int] = split(len(inputs.calibration_images), spec.held_out, inputs.recipe.seed)[1].tolist()
    return held


def teach_run(
    inputs: Inputs, small: nn.Module, plan: Plan, say: Say = lambda message: None
) -> tuple[nn.Module, Reconstruction | None]:
    """The run's compensated model, taught on all calibration images, and what reconstruction did.

    Every process gets the same. The `plan` says what the model has left of the dense one.
    """
    spec, cpu, found = inputs.recipe.recover, not torch.cuda.is_available(), None
    images, transform, task = inputs.calibration_images, inputs.transform, inputs.model_task
    folder, seed = inputs.working_folder, inputs.recipe.seed
    if (lesson := spec.reconstruct).epochs:
        accelerator = distill.make_accelerator(lesson.views(cpu), cpu)
        chosen = (inputs.groups, plan, images, lesson, transform)
        small, found = rebuild(small, inputs.dense, *chosen, folder, seed, accelerator, say, task)
    if spec.distill.epochs:
        accelerator = distill.make_accelerator(spec.distill, cpu)
        small = distill.distill(
            small, inputs.dense, images, spec.distill, transform, folder, seed, accelerator, say, task
        )
    return small, found


def teach_together(inputs: Inputs, small: nn.Module, say: Say) -> tuple[nn.Module, Reconstruction | None]:
    """What the first process does: it hands `small` and its plan to the others, and all teach it."""
    save(small, inputs.working_folder / START)
    inputs.plan.save(inputs.working_folder / START / PLAN)
    with together(inputs.task()):
        result = teach_run(inputs, small, inputs.plan, say)
    shutil.rmtree(inputs.working_folder / START)
    (inputs.working_folder / reconstruct.CHECKPOINT).unlink(missing_ok=True)
    return result


def help_teaching(inputs: Inputs) -> None:
    """What every other process does then."""
    folder = inputs.working_folder / START
    teach_run(inputs, load(folder, inputs.factory), Plan.load(folder / PLAN))
