"""Makers of what is timed: a model in one of its forms, made ready on a target with an input that stays the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import nn

from secateur.benchmarks.latency import Clock, CpuClock, CudaClock, Timed
from secateur.benchmarks.modes.cold import ColdClock, flusher
from secateur.benchmarks.modes.mode import COUNTED, HOT, Mode
from secateur.benchmarks.modes.together import Together
from secateur.core.errors import BenchError, UnsupportedError
from secateur.core.input_spec import InputSpec
from secateur.core.model_inputs import ModelInputs, call, map_tensors, moved, tensors_in
from secateur.core.modules import copied, shared_copy
from secateur.export.engine import Engine, How
from secateur.export.engines import open_engine
from secateur.export.graph_types import read_graph
from secateur.export.parity import noted_inputs
from secateur.export.runner.modes import RUNS
from secateur.export.runner.tensors import DYNAMIC
from secateur.export.targets import Target, TypedTarget, parse_typed_target

Goal: TypeAlias = str | Target | TypedTarget
"""What something is measured on: `onnxruntime:cpu`, or with the precision of its graph `onnxruntime:cpu@fp16`."""
HOW: Mapping[str, How] = {"copies": "copied", "graph": "graph"}
"""How an engine is prepared for a mode, where it is not as for most."""


@dataclass(frozen=True)
class Subject:
    """One model in the forms that targets run: the `torch` targets take `module`, all others an engine or a graph.

    `onnx` is its graph in fp32, or the only one that there is, and `typed_onnx` has those in other precisions.
    `engines` has the path of an engine for each goal (`tensorrt@fp16`) that has one, and `absent` may say why another
    one was not built. `inputs` says what the module is called with. `size_bytes` and `top1` (percent) are
    carried into the result.
    """

    name: str
    module: nn.Module | None = None
    onnx: Path | None = None
    engines: Mapping[str, Path] = field(default_factory=dict)
    inputs: InputSpec | None = None
    size_bytes: int | None = None
    top1: float | None = None
    typed_onnx: Mapping[str, Path] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)

    def form(self, goal: Goal) -> Path | nn.Module | None:
        """What `goal` runs of this model; None where that form was not made."""
        goal = parse_typed_target(goal)
        if goal.target.runtime == "torch":
            return self.module if self.inputs is not None else None
        if str(goal) in self.engines:
            return self.engines[str(goal)]
        if goal.target.runtime != "onnxruntime":
            return None
        return self.onnx if goal.precision == "fp32" else self.typed_onnx.get(goal.precision)

    def graph(self, goal: Goal) -> Path | None:
        """The ONNX graph of what `goal` runs, which an engine was built from; None where there is none."""
        goal, form = parse_typed_target(goal), self.form(goal)
        if isinstance(form, Path) and form.suffix == ".onnx":
            return form
        return self.onnx if goal.precision == "fp32" and self.onnx else self.typed_onnx.get(goal.precision)


@dataclass(frozen=True)
class Runner:
    """Something prepared (see `latency.Timed`): `call` runs it once, `done` waits for it, `release` frees it."""

    call: Callable[[], object]
    clock: Clock
    release: Callable[[], None] = lambda: None
    done: Callable[[], object] = lambda: None

    def run(self) -> None:
        """Runs once."""
        self.call()

    def wait(self) -> None:
        """Returns when the work of the last run is done."""
        self.done()

    def close(self) -> None:
        """Frees what was prepared."""
        self.release()


def make_runner(
    subject: Subject,
    goal: Goal,
    batch: int = 1,
    threads: int | None = None,
    seed: int = 0,
    mode: Mode = HOT,
) -> Timed:
    """The subject ready to be timed on `goal` in a mode (see `modes.mode`), its input random.

    `threads` are the CPU threads inside one operation of ONNX Runtime, for each session; those of PyTorch belong to
    the process (see `torch_threads`). Raises `BenchError` where the subject has no form for the goal or its form no
    such batch, `UnsupportedError` where the mode is nothing for the target, where the runtime has no kernels for its
    types or its engine was built for other batches, `EngineError` where the runtime refuses it (a provider that would
    silently fall back to the CPU is such a refusal), and `MissingPackageError` where the runtime is not installed.
    """
    goal = parse_typed_target(goal)
    form = subject.form(goal)
    if form is None:
        raise BenchError(no_form(subject, goal))
    if reason := mode.why_not(goal.target):
        raise UnsupportedError(reason)
    how = HOW.get(mode.name, "resident")

    def session() -> Runner:
        if isinstance(form, nn.Module) and subject.inputs is not None:
            return torch_runner(form, subject.inputs.draw(batch, seed), goal.target.device, how)
        assert isinstance(form, Path)  # for the type checker: a module is a form where its inputs are known
        engine = open_engine(form, goal.target, threads=threads)
        noted = noted_inputs(read_graph(form)) if form.suffix == ".onnx" else None
        return engine_runner(engine, batch, seed, noted or subject.inputs, how)

    with ExitStack() as opened:
        sessions = [opened.enter_context(closing(session())) for _ in range(mode.sessions)]
        opened.pop_all()  # they are closed by what is returned
    if mode.name in COUNTED:
        return Together(sessions, RUNS if mode.name == "throughput" else 1)
    (runner,) = sessions
    return (
        replace(runner, clock=ColdClock(runner.clock, flusher(goal.target.device))) if mode.name == "cold" else runner
    )


@contextmanager
def open_sides(
    sides: Sequence[tuple[Subject, Goal]],
    batch: int,
    threads: int | None,
    seed: int = 0,
    mode: Mode = HOT,
    turned: bool = False,
) -> Iterator[list[Timed]]:
    """Subjects ready on their goals (see `make_runner`), closed in the end whatever happens.

    `turned` opens the last one first; they are given in their own order all the same.
    """
    with ExitStack() as stack:
        order = reversed(sides) if turned else sides
        found = [stack.enter_context(closing(make_runner(*side, batch, threads, seed, mode))) for side in order]
        yield found[::-1] if turned else found


def no_form(subject: Subject, goal: Goal) -> str:
    """One sentence: what is missing to run `subject` on `goal`, and how to get it."""
    goal = parse_typed_target(goal)
    typed = "" if goal.precision == "fp32" else f" in {goal.precision}"
    if goal.target.runtime == "torch":
        return f"{subject.name} is not a PyTorch model here: give a timm name or a run directory"
    if goal.target.runtime == "onnxruntime":
        get = "export it with `secateur export`" + (
            f" (recipe key export.precisions: [{goal.precision}])" if typed else ""
        )
        return f"{subject.name} has no ONNX file{typed}: {get}"
    if reason := subject.absent.get(str(goal)):
        return f"{subject.name} has no engine for {goal.target}{typed}: {reason}"
    return (
        f"{subject.name} has no engine for {goal.target}{typed}: build one with `secateur build` "
        "(recipe key export.targets)"
    )


def torch_runner(model: nn.Module, example: ModelInputs, device: str = "cpu", how: How = "resident") -> Runner:
    """PyTorch eager on `cpu` or `cuda`, in evaluation and inference mode; the model itself is left as it is.

    On a GPU `graph` captures one run and replays it, which takes the launches out of the latency, and `copied` copies
    the inputs from pinned memory and the outputs to the CPU in every run.
    """
    if device != "cpu" and not torch.cuda.is_available():
        raise BenchError(f"the target torch:{device} needs a GPU that PyTorch can use, and there is none here")
    twin = placed(model, device)
    if device == "cpu":
        return Runner(inference(twin, example), CpuClock())
    run = _copying(twin, example) if how == "copied" else inference(twin, moved(example, torch.device(device)))
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    work = _captured(run) if how == "graph" else run

    def on_stream() -> object:
        with torch.cuda.stream(stream):  # of its own, for several sessions to run at once
            return work()

    torch.cuda.synchronize()  # what was prepared on another stream
    return Runner(on_stream, CudaClock(stream), torch.cuda.empty_cache, stream.synchronize)


def engine_runner(
    engine: Engine, batch: int = 1, seed: int = 0, called_with: InputSpec | None = None, how: How = "resident"
) -> Runner:
    """An opened engine of any runtime, which the runner closes; nothing is copied in a timed run unless `copied`.

    Whole numbers and truth values are drawn from those that its model was `called_with`, in the order of its inputs;
    they are zero where that is not known, since others may be out of range; pixels (uint8, four dimensions) are random.
    Timed by events on the engine's stream, or where it has none from the call until the host sees the result ready.
    """
    rng = np.random.default_rng(seed)
    drawn = [] if called_with is None else [tensor.numpy() for tensor in tensors_in(called_with.draw(batch, seed))]
    known = dict(zip(engine.inputs, drawn, strict=True)) if len(drawn) == len(engine.inputs) else {}
    inputs = {}
    for tensor in engine.inputs:
        shape = [batch if size == DYNAMIC else size for size in tensor.shape]
        values = rng.standard_normal(shape)
        whole = known.get(tensor, np.zeros(shape))
        if tensor.dtype == "uint8" and len(shape) == 4:  # pixels
            whole = rng.integers(0, 256, shape)
        inputs[tensor.name] = np.asarray(values if tensor.dtype.startswith("float") else whole, tensor.dtype)
    if not any(array.shape[:1] == (batch,) for array in inputs.values()):
        engine.close()
        takes = ", ".join(map(str, engine.inputs))
        raise BenchError(f"a batch of {batch} was asked for, but the engine takes {takes} only")
    try:
        call = engine.prepare(inputs, how)
    except BaseException:
        engine.close()
        raise
    if engine.stream is None:
        return Runner(call, CpuClock(), engine.close)
    return Runner(call, CudaClock(engine.stream), engine.close, engine.stream.synchronize)


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """The block runs with PyTorch's CPU threads set to `threads`."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def placed(model: nn.Module, device: str) -> nn.Module:
    """A copy of a model on `cpu` or `cuda` in evaluation mode; it shares the weights where they are there already."""
    there = next((tensor.device.type for tensor in model.parameters()), "cpu") == device
    return shared_copy(model) if there else copied(model).eval().to(device)


def inference(model: nn.Module, example: ModelInputs) -> Callable[[], object]:
    """A call of the model without gradients."""

    def run() -> object:
        with torch.inference_mode():
            return call(model, example)

    return run


def _copying(model: nn.Module, example: ModelInputs) -> Callable[[], object]:
    """One run with its copies; the outputs are ready when the stream is."""
    pinned = map_tensors(lambda tensor: tensor.pin_memory(), example)

    def run() -> object:
        with torch.inference_mode():
            there = map_tensors(lambda tensor: tensor.to("cuda", non_blocking=True), pinned)
            return [tensor.to("cpu", non_blocking=True) for tensor in tensors_in(call(model, there))]

    return run


def _captured(run: Callable[[], object]) -> Callable[[], object]:
    """`run` as a CUDA graph, after the warm-up on a side stream that PyTorch's documentation asks for."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = run()

    def replay(_held: object = output) -> None:  # the output's memory belongs to the graph
        graph.replay()

    return replay
