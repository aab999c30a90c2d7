"""A model under the profiler of the runtime that a target names."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from secateur.benchmarks.layers.graph_work import graph_work
from secateur.benchmarks.layers.operations import Profiled
from secateur.benchmarks.layers.ort_layers import OrtLayers
from secateur.benchmarks.layers.torch_layers import TorchLayers
from secateur.benchmarks.layers.trt_layers import TrtLayers
from secateur.benchmarks.runners import Subject, no_form
from secateur.core.errors import BenchError
from secateur.export.engines import open_engine
from secateur.export.graph_types import read_graph
from secateur.export.parity import noted_inputs
from secateur.export.targets import TypedTarget
from secateur.export.trt_engine import TrtEngine


def open_profiled(
    subject: Subject, goal: TypedTarget, batch: int, threads: int | None, folder: Path, seed: int = 0
) -> Profiled:
    """The subject under the profiler of its runtime; `folder`, which must not be there, takes its files.

    Raises what `make_runner` does, and `BenchError` where the layers of a target cannot be told apart or the graph is
    missing that an engine was built from.
    """
    form = subject.form(goal)
    if form is None:
        raise BenchError(no_form(subject, goal))
    if isinstance(form, nn.Module):
        assert subject.inputs is not None  # for the type checker: a module is a form where its inputs are known
        return TorchLayers(form, subject.inputs, goal.target.device, batch, folder, seed)
    graph = subject.graph(goal)
    if graph is None:
        raise BenchError(
            f"{subject.name} has no ONNX file beside its engine for {goal}, which says what its layers are made of: "
            "export it with `secateur export`"
        )
    work, called_with = graph_work(graph, batch), noted_inputs(read_graph(graph)) or subject.inputs
    if goal.target.runtime == "onnxruntime":
        return OrtLayers(graph, work, goal.target.device, batch, threads, folder, called_with)
    engine = open_engine(form, goal.target)
    if not isinstance(engine, TrtEngine):
        raise BenchError(f"the layers of {goal} cannot be timed: profile onnxruntime:cpu or torch:cpu")
    return TrtLayers(engine, work, batch, called_with)
