"""Processes that start at once: forked from one that has imported what secateur runs on and never ran a thread."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

ROOT = Path(__file__).parents[1]
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        *("secateur.pipeline.runs.runner", "secateur.pipeline.cli.run", "secateur.pipeline.cli.stages"),
        *(
            "secateur.pipeline.plan.evolution",
            "secateur.pipeline.recover.distill",
            "secateur.pipeline.scores.xmask.learn",
        ),
        *("accelerate.commands.launch", "fvcore.nn", "matplotlib.figure", "onnxruntime", "onnxscript"),
        *("sklearn.datasets", "torch.onnx._internal.exporter._compat", "torch.distributed.run", "torch.export"),
    ]
)
BEFORE = """
import os, sys
os.environ.update(environment)
sys.path.append(root)
import torch
torch.set_num_threads(1)
"""
COMMAND = "from secateur.pipeline.cli import main; main(words)"


def started(code: str, environment: Mapping[str, str] | None = None, **names: object) -> BaseProcess:
    """A process that runs `code` on one thread, with these names and variables, and the tests' packages at hand."""
    names |= {"environment": dict(environment or {}), "root": str(ROOT)}
    child = SERVER.Process(target=exec, args=(BEFORE + code, names))
    child.start()
    return child


def secateur(*words: object, environment: Mapping[str, str] | None = None) -> BaseProcess:
    """A process that runs `secateur WORDS`."""
    return started(COMMAND, environment, words=[str(word) for word in words])


def finished(*children: BaseProcess, seconds: float = 200) -> list[int | None]:
    """The exit codes of these processes; None of one that did not end in time, and is stopped."""
    for child in children:
        child.join(seconds)
    codes = [child.exitcode for child in children]
    for child in children:
        child.kill()
    return codes
