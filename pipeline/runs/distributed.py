"""How the processes that a launcher started do a run together: the first one runs the stages, the others help."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
import yaml

from secateur.core.errors import RunError
from secateur.pipeline.runs.context import Run, Store
from secateur.pipeline.runs.inputs import Task
from secateur.pipeline.runs.recipe import make_recipe
from secateur.pipeline.runs.stage import Stage

Word = Literal["done", "failed"]
"""How the first process ends."""
PATIENCE = timedelta(days=7)
"""How long the other processes wait for the first one, which plans and compensates alone."""
_together: ContextVar[bool] = ContextVar("together", default=False)
"""Whether all processes are at work, or were when something failed: then nobody listens to the first one."""


def processes() -> int:
    """How many processes a launcher started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the process that runs the stages."""
    return int(os.environ.get("RANK", "0")) == 0


def check_launch() -> None:
    """Raises `RunError` where `accelerate launch` was asked for several processes and started one.

    It does so on CPUs, unless it is told `--multi_gpu`: it leaves the others to MPI.
    """
    asked = {"ACCELERATE_USE_CPU", "MASTER_ADDR"} <= os.environ.keys()
    if asked and "WORLD_SIZE" not in os.environ:
        raise RunError(
            "accelerate launch was asked for several processes but started only this one, as it does on CPUs: "
            "give it --multi_gpu instead of --cpu, which starts all of them on CPUs too"
        )


def lead(work: Callable[[], object]) -> None:
    """Does the first process's `work`, and lets the others go when it is done and also when it fails."""
    try:
        work()
    except BaseException:
        if not _together.get():  # else they notice that the connection is gone
            _broadcast("failed")
        raise
    _broadcast("done")


@contextmanager
def together(task: Task) -> Iterator[None]:
    """Lets all processes work on `task`: the first one in this block, the others by their stage's `help`."""
    _broadcast(task)
    token = _together.set(True)
    yield
    _together.reset(token)


def take_part(folder: Path, stages: Sequence[Stage]) -> None:
    """What every process but the first one does: it helps with the tasks that it is told, of the run in `folder`.

    What the run's recipe is, it learns with the task: the first process may be about to change it. Raises `RunError`
    when the first process fails.
    """
    by_name, store = {stage.name: stage for stage in stages}, Store()
    while isinstance(task := _listen(), Task):
        stage = by_name[task.stage]
        if stage.help is None:
            raise RunError(f"the stage {stage.name!r} calls other processes, but does not say how they help")
        recipe = make_recipe(yaml.safe_load(task.recipe), "the first process's recipe")
        stage.help(stage.inputs(Run(folder, recipe, store), {}))
    if task == "failed":
        raise RunError("the first process has failed, so that this one ends too: see the first one's message")


def _broadcast(message: Task | Word) -> None:
    """Tells all other processes what comes next."""
    if processes() > 1:
        torch.distributed.broadcast_object_list([message], src=0, group=_group())


def _listen() -> Task | Word:
    """What the first process tells."""
    messages: list[Task | Word] = ["failed"]
    torch.distributed.broadcast_object_list(messages, src=0, group=_group())
    return messages[0]


@cache
def _group() -> Any:
    """All processes, joined for messages: they wait for one as long as it takes, and without a GPU."""
    from accelerate import PartialState

    PartialState(cpu=not torch.cuda.is_available())
    return torch.distributed.new_group(backend="gloo", timeout=PATIENCE)
