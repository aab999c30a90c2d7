"""Distillation in a run, by one process or by all that a launcher started.

Only the first process runs stages; the others wait for its word, so that `secateur recover RUN` and
`accelerate launch -m secateur recover RUN` do the same.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import timedelta

import torch
from torch import nn

from secateur.pipeline.models import transform_for
from secateur.pipeline.recover.distill import distill, make_accelerator
from secateur.pipeline.runs.context import Run
from secateur.pipeline.structure.storage import load, save

DISTILL, DONE = "distill", "done"
START = "undistilled"
PATIENCE = timedelta(days=7)
"""How long the other processes wait for the first one, which scores and compensates alone."""


def distill_run(run: Run, small: nn.Module, say: Callable[[str], None] = lambda message: None) -> nn.Module:
    """The run's compensated model, distilled on all calibration images; every process gets the same one."""
    spec = run.recipe.recover.distill
    accelerator = make_accelerator(spec, cpu=not torch.cuda.is_available())
    images, transform = run.data.calibration, transform_for(run.dense)
    return distill(small, run.dense, images, transform, spec, run.folder, run.recipe.seed, accelerator, say)


def distill_together(run: Run, small: nn.Module, say: Callable[[str], None]) -> nn.Module:
    """What the first process does: it hands `small` to the others, and all distil it."""
    save(small, run.folder / START)
    announce(DISTILL)
    result = distill_run(run, small, say)
    shutil.rmtree(run.folder / START)
    return result


def take_part(run: Run) -> None:
    """What every process but the first one does in a run: it waits, and distils when the first one does."""
    while listen() == DISTILL:
        distill_run(run, load(run.folder / START))


def processes() -> int:
    """How many processes a launcher started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the process that runs the stages."""
    return int(os.environ.get("RANK", "0")) == 0


def announce(word: str) -> None:
    """Tells all other processes what comes next."""
    if processes() > 1:
        _meet()
        torch.distributed.broadcast_object_list([word], src=0)


def listen() -> str:
    """What the first process announces."""
    _meet()
    words: list[str] = [""]
    torch.distributed.broadcast_object_list(words, src=0)
    return words[0]


def _meet() -> None:
    """Joins the group of all processes, once."""
    from accelerate import PartialState

    PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
