"""PyTorch's profiler: the operations inside of each module, and how long each took on the CPU or the GPU.

A module's layer is what it calls itself, outside of the modules in it. What Python does between the operations is in no
layer: it is in the model's own time only.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from secateur.benchmarks.flops import count_macs
from secateur.benchmarks.layers.graph_work import WHOLE
from secateur.benchmarks.layers.module_work import ModuleWork, hook_modules, module_work
from secateur.benchmarks.layers.operations import LayerTimes, Operation
from secateur.benchmarks.runners import inference, placed
from secateur.core.errors import BenchError
from secateur.core.input_spec import InputSpec
from secateur.core.model_inputs import moved

LAYER = "secateur.layer:"
"""How the ranges of modules are called in a trace; the empty name is the model's own."""

PRODUCTS = ("linear", "conv", "matmul", "mm", "einsum", "attention", "lstm", "gru", "rnn")
"""Words in the names of PyTorch's operations that have MACs."""

MOVES = frozenset(
    f"aten::{name}"
    for name in ("contiguous", "clone", "copy_", "to", "reshape", "cat", "stack", "pad", "roll", "flatten")
)
"""Operations of PyTorch that compute nothing on what they move; some only look at it in another way."""

KERNEL = re.compile(
    r"aten::(_scaled_dot_product_\w+|_slow_conv\w+|slow_conv\w+|thnn_conv\w+|(mkldnn|cudnn|miopen)_\w+)$"
)
"""Operations inside of another one that say which of its kernels was chosen."""

MOST_EVENTS = 200_000
"""Events that a trace may have: they are held in memory."""


NOTHING = "the trace of PyTorch holds no operation of the model: measure for more --seconds"
DIFFER = (
    "the model's runs differ in the operations that they call, so its layers cannot be compared: profile a target that "
    "runs its graph, such as onnxruntime:cpu"
)


class TorchLayers:
    """A module under PyTorch's profiler (see `operations.Profiled`); its trace goes into `folder`."""

    def __init__(
        self, model: nn.Module, inputs: InputSpec, device: str, batch: int, folder: Path, seed: int = 0
    ) -> None:
        self._model, self._folder = placed(model, device), folder
        example = inputs.draw(batch, seed)
        there, cost = moved(example, torch.device(device)), count_macs(model, example)
        uncounted = ", ".join(cost.unsupported)
        self.notes = (f"MACs are a lower bound: not counted are {uncounted}",) if uncounted else ()
        self._work = module_work(self._model, there, cost)
        self._run, self._cuda = inference(self._model, there), device != "cpu"
        self._activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self._cuda else [])]
        self._profiles: list[Any] = []  # of PyTorch, whose classes of profiles are not typed
        self._recording, self.recorded = False, 0
        ranges: list[Any] = []

        def enter(name: str, module: nn.Module, arguments: Any) -> None:
            ranges.append(record_function(LAYER + name))
            ranges[-1].__enter__()

        hook_modules(self._model, enter, lambda: ranges.pop().__exit__(None, None, None))
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it writes to stderr whenever a profile begins
        folder.mkdir(parents=True)
        with self.recording():
            self.run()
        self.most_runs = max(1, MOST_EVENTS // max(1, len(_trace(self._profiles.pop(), folder))))
        self.recorded = 0

    def run(self) -> None:
        """Runs once, until its work is done; it is recorded in a block that is."""
        self._run()
        if self._cuda:
            torch.cuda.synchronize()
        self.recorded += self._recording

    @contextmanager
    def recording(self) -> Iterator[None]:
        """The block runs under the profiler; a process can have one at a time."""
        self._profiles.append(profile(activities=self._activities))
        with self._profiles[-1]:
            self._recording = True
            try:
                yield
            finally:
                self._recording = False

    def finish(self) -> LayerTimes:
        """What the traces say; raises `BenchError` where their runs differ."""
        found = [times_of(_trace(one, self._folder), self._work, self._cuda) for one in self._profiles]
        if not found:
            raise BenchError(NOTHING)
        if any(one.operations != found[0].operations for one in found):
            raise BenchError(DIFFER)
        return LayerTimes(found[0].operations, np.concatenate([one.ms for one in found]))

    def close(self) -> None:
        """Forgets the traces."""
        self._profiles.clear()


def times_of(events: Sequence[Mapping[str, Any]], work: Mapping[str, ModuleWork], cuda: bool = False) -> LayerTimes:
    """The times of the operations that modules call themselves, of all runs in a trace.

    On a GPU these are the times of the kernels that they launch. A module's work is told with its first product.
    """
    runs: list[list[tuple[str, str, float]]] = []  # of each run: layer, operation, ms
    launched: dict[int, float] = {}
    for event in events:
        if event.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset"):
            number = int(event["args"].get("External id", -1))
            launched[number] = launched.get(number, 0.0) + float(event["dur"]) / 1e3
    stack: list[tuple[float, str, str]] = []  # the ends, kinds and names of what is open
    for event in sorted(events, key=lambda one: (float(one.get("ts", 0)), -float(one.get("dur", 0)))):
        if event.get("cat") not in ("cpu_op", "user_annotation"):
            continue
        start, name = float(event["ts"]), str(event["name"])
        while stack and stack[-1][0] <= start:
            stack.pop()
        layers = [one for _, kind, one in stack if kind == "layer"]
        if event["cat"] == "user_annotation":
            if name == LAYER:
                runs.append([])
            stack.append((start + float(event["dur"]), "layer", name.removeprefix(LAYER)))
            continue
        if stack and stack[-1][1] == "op" and runs and runs[-1] and KERNEL.search(name):
            layer, outer, ms = runs[-1][-1]
            runs[-1][-1] = (layer, outer if "(" in outer else f"{outer} ({name.removeprefix('aten::')})", ms)
        own = launched.get(int(event["args"].get("External id", -1)), 0.0)
        if stack and stack[-1][1] == "layer" and runs:
            runs[-1].append((layers[-1], name, own if cuda else float(event["dur"]) / 1e3))
        elif cuda and own and runs and runs[-1]:  # of an operation that another one calls
            layer, outer, ms = runs[-1][-1]
            runs[-1][-1] = (layer, outer, ms + own)
        stack.append((start + float(event["dur"]), "op", name))
    return LayerTimes(*_table(runs, work))


def _table(
    runs: Sequence[Sequence[tuple[str, str, float]]], work: Mapping[str, ModuleWork]
) -> tuple[tuple[Operation, ...], Any]:
    if not runs or not runs[0]:
        raise BenchError(NOTHING)
    names = [(layer, name) for layer, name, _ in runs[0]]
    if any([(layer, name) for layer, name, _ in run] != names for run in runs):
        raise BenchError(DIFFER)
    found = [
        Operation(f"{layer}:{name}", name, layer or WHOLE, does=(name,), moves=name in MOVES) for layer, name in names
    ]
    for layer in dict.fromkeys(layer for layer, _ in names):
        places = [place for place, (one, _) in enumerate(names) if one == layer]
        first = next((place for place in places if any(word in names[place][1] for word in PRODUCTS)), places[0])
        own = work.get(layer, ModuleWork())
        found[first] = replace(found[first], macs=own.macs, bytes_moved=own.bytes_moved, product=own.product)
    return tuple(found), np.array([[ms for _, _, ms in run] for run in runs])


def _trace(found: Any, folder: Path) -> list[dict[str, Any]]:
    """The events of a profile that has ended."""
    path = folder / "trace.json"
    path.unlink(missing_ok=True)
    found.export_chrome_trace(str(path))
    content: list[dict[str, Any]] = json.loads(path.read_text())["traceEvents"]
    return content
