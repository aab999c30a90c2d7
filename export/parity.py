"""Whether an ONNX file computes what its PyTorch model computes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from secateur.core.errors import ExportError, MissingPackageError
from secateur.core.input_spec import InputSpec
from secateur.core.model_inputs import call, moved
from secateur.core.modules import device_of, evaluating
from secateur.export.graph_types import declared_precisions, first_line, graph_precision, graph_tensors, read_graph
from secateur.export.precision import TOLERANCES
from secateur.export.signature import flat_inputs, flat_outputs
from secateur.export.tensors import TensorInfo

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Difference:
    """How far one output of one batch is from PyTorch's: `relative` is `max_abs` over the output's own `scale`.

    The scale is the largest absolute value of PyTorch's output over the batch.
    """

    batch: int
    output: str
    max_abs: float
    scale: float
    relative: float


@dataclass(frozen=True)
class Parity:
    """The differences for every batch and output, all within `tolerance` (relative).

    `widened` says that ONNX Runtime has no kernels for the graph's bf16, so that the same graph and rounded weights
    were run in float32.
    """

    tolerance: float
    differences: tuple[Difference, ...]
    widened: bool

    @property
    def worst(self) -> Difference:
        """The largest relative difference."""
        return max(self.differences, key=lambda difference: difference.relative)


def check_parity(
    model: nn.Module,
    onnx_path: str | Path,
    batches: tuple[int, ...] = (1, 2, 7),
    tolerance: float | None = None,
    *,
    seed: int = 0,
) -> Parity:
    """How far ONNX Runtime on the CPU is from PyTorch on seeded normal inputs, for every batch size.

    The tolerance is relative to the output's scale; by default that of the graph's precision (1e-4 for fp32). Raises
    `ExportError` naming the batch, the output and the difference when one is above it or not finite, and
    `MissingPackageError` without ONNX Runtime.

    >>> info = sc.export_onnx(small, "small.onnx")
    >>> sc.check_parity(small, "small.onnx").worst.relative < 1e-4
    True
    """
    path = Path(onnx_path)
    graph = read_graph(path)
    precision = graph_precision(declared_precisions(graph))
    allowed = TOLERANCES.get(precision, TOLERANCES["fp16"]) if tolerance is None else tolerance
    if not batches or min(batches) < 1:
        raise ExportError(f"the batches to compare are {list(batches)}, but at least one is needed, each 1 or more")
    widened = precision == "bf16"
    session = _session(_widened(path) if widened else str(path), path)
    takes, gives = graph_tensors(graph)
    names, spec = [output.name for output in gives], _spec(graph, takes)
    found = []
    for number, batch in enumerate(batches):
        inputs = spec.draw(batch, seed + number)
        feeds = {name: tensor.numpy() for name, tensor in flat_inputs(model, inputs).items()}
        if sorted(feeds) != sorted(tensor.name for tensor in takes):
            raise ExportError(
                f"{path.name} has the inputs {[tensor.name for tensor in takes]}, but the model takes {list(feeds)}: "
                "export this model again"
            )
        with evaluating(model), torch.no_grad():
            try:
                returned = call(model, moved(inputs, device_of(model)))
            except Exception as error:  # a model's forward may raise anything
                raise ExportError(
                    f"the model cannot run on the inputs of {path.name} ({first_line(error)}): give the model that "
                    "it was exported from"
                ) from error
            expected = flat_outputs(returned)
        if list(expected) != names:
            raise ExportError(
                f"{path.name} has the outputs {names}, but the model returns {list(expected)}: export this model again"
            )
        try:
            computed = session.run(names, feeds)
        except Exception as error:  # ONNX Runtime's exceptions share no public base class
            raise ExportError(f"ONNX Runtime cannot run {path.name} at batch {batch} ({first_line(error)})") from error
        for name, array in zip(names, computed, strict=True):
            found.append(_difference(batch, name, expected[name].float().cpu().numpy(), array))
    for difference in found:
        if not difference.relative <= allowed:
            raise ExportError(
                f"{path.name} differs from PyTorch at batch {difference.batch}: {difference.output!r} is off by "
                f"{difference.max_abs:.3g}, {difference.relative:.2g} of its scale {difference.scale:.3g}, but "
                f"{allowed:.2g} is allowed: do not deploy this file; export it again or in a wider precision"
            )
    return Parity(allowed, tuple(found), widened)


def noted_inputs(graph: onnx.ModelProto) -> InputSpec | None:
    """What the graph's model is called with, as `export_onnx` has noted it; None for a graph of others."""
    notes = {entry.key: entry.value for entry in graph.metadata_props}
    return InputSpec.from_json(json.loads(notes["secateur.inputs"])) if "secateur.inputs" in notes else None


def _spec(graph: onnx.ModelProto, takes: Sequence[TensorInfo]) -> InputSpec:
    """What the graph's model is called with: as `export_onnx` has noted it, or else the shape of its one input."""
    if (noted := noted_inputs(graph)) is not None:
        return noted
    if len(takes) > 1:
        raise ExportError(
            f"the graph has the inputs {[tensor.name for tensor in takes]}, and no note of what the model is called "
            "with: export it by secateur"
        )
    return InputSpec.shaped(takes[0].shape[1:])


def _difference(batch: int, name: str, expected: Any, computed: Any) -> Difference:
    if expected.shape != computed.shape:
        raise ExportError(
            f"at batch {batch} ONNX Runtime gives {name!r} the shape {list(computed.shape)} and PyTorch "
            f"{list(expected.shape)}: export the model again"
        )
    max_abs = float(np.abs(expected.astype(np.float64) - computed.astype(np.float64)).max(initial=0.0))
    scale = float(np.abs(expected).max(initial=0.0))
    relative = max_abs / scale if scale > 0 else max_abs
    return Difference(batch, name, max_abs, scale, relative)


def _session(source: str | bytes, path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPackageError("onnxruntime", "the comparison of ONNX with PyTorch", "cpu") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no public base class
        raise ExportError(f"ONNX Runtime cannot load {path.name} ({first_line(error)}): export it again") from error


def _widened(path: Path) -> bytes:
    """The bf16 graph at `path` with every bf16 tensor, cast and weight made float32; the weights stay rounded."""
    import onnx
    from onnx import TensorProto, numpy_helper

    model = onnx.load(str(path))
    for index, tensor in enumerate(model.graph.initializer):
        if tensor.data_type == TensorProto.BFLOAT16:
            model.graph.initializer[index].CopyFrom(_float32(tensor))
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.BFLOAT16:
                attribute.i = TensorProto.FLOAT
            if attribute.HasField("t") and attribute.t.data_type == TensorProto.BFLOAT16:
                attribute.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(attribute.t).astype(np.float32)))
    for value in (*model.graph.value_info, *model.graph.output):
        if value.type.tensor_type.elem_type == TensorProto.BFLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    return bytes(model.SerializeToString())


def _float32(tensor: onnx.TensorProto) -> onnx.TensorProto:
    from onnx import numpy_helper

    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)
