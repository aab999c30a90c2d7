"""How the processes that a launcher started do a run together: the first one runs the stages, the others follow it."""

from __future__ import annotations

import os
from datetime import timedelta

import torch

from secateur.core.errors import RunError

DONE = "done"
PATIENCE = timedelta(days=7)
"""How long the other processes wait for the first one, which plans and compensates alone."""


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
