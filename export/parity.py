"""Whether an ONNX file computes what its PyTorch model computes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from secateur.core.errors import ExportError, MissingPackageError
from secateur.core.input_spec import InputSpec
from secateur.core.json_text import parse_json
from secateur.core.model_inputs import ModelInputs, call, moved, samples_of
from secateur.core.modules import device_of, evaluating
from secateur.export.graph_types import (
    check_onnx,
    declared_precisions,
    element_types,
    first_line,
    graph_precision,
    graph_tensors,
    read_graph,
)
from secateur.export.precision import COSINES, EIGHT_BITS, TOLERANCES
from secateur.export.runner.half_pairs import session_options
from secateur.export.runner.tensors import TensorInfo
from secateur.export.signature import flat_inputs, flat_outputs

if TYPE_CHECKING:
    import onnx

INPUTS = "secateur.inputs"
"""The note of a graph on what its model is called with."""


@dataclass(frozen=True)
class Difference:
    """How far one output of one batch is from PyTorch's: `relative` is `max_abs` over the output's own `scale`.

    The scale is the largest absolute value of PyTorch's output over the batch. `agreement` is the share of the batch
    whose largest value has the same place in both: top-1, of logits.
    """

    batch: int
    output: str
    max_abs: float
    scale: float
    relative: float
    cosine: float
    agreement: float


@dataclass(frozen=True)
class Parity:
    """The differences for every batch and output, all within `tolerance` (relative), with a cosine of `least` or more.

    `widened` says that ONNX Runtime has no kernels for the graph's bf16, so that the same graph and rounded weights
    were run in float32.
    """

    tolerance: float
    differences: tuple[Difference, ...]
    widened: bool
    least: float

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
    images: Iterable[Any] | None = None,
    reference: str | Path | None = None,
) -> Parity:
    """How far ONNX Runtime on the CPU is from PyTorch on seeded normal inputs, for every batch size.

    ONNX Runtime's CPU provider widens fp16 between operations that it has no kernels for: what overflows there is
    found by the calibration images of `export_onnx`, and not here. With `images`, any iterable of (images, labels),
    these are the inputs: graphs in 8 bits need them, for they are right for such images alone. The tolerance is
    relative to the output's scale; by default that of the graph's precision (1e-4 for fp32). Raises `ExportError` with
    the batch, the output and the difference when one is above it or not finite, and with a `reference`, the fp32 graph
    of a narrower one, the first product where they part. Raises `MissingPackageError` without ONNX Runtime.

    >>> info = sc.export_onnx(small, "small.onnx")
    >>> sc.check_parity(small, "small.onnx").worst.relative < 1e-4
    True
    """
    path = Path(onnx_path)
    graph = read_graph(path)
    precision = graph_precision(declared_precisions(graph))
    allowed = TOLERANCES.get(precision, TOLERANCES["fp16"]) if tolerance is None else tolerance
    least = COSINES.get(precision, COSINES["fp16"])
    found = differences(model, path, batches, seed=seed, images=images)
    for difference in found:
        if not (difference.relative <= allowed and difference.cosine >= least):
            raise ExportError(
                f"{path.name} differs from PyTorch at batch {difference.batch}: {difference.output!r} is off by "
                f"{difference.max_abs:.3g}, {difference.relative:.2g} of its scale {difference.scale:.3g}, but "
                f"{allowed:.2g} is allowed{_cosine_too(difference, least)}{_parting(reference, path, images, least)}: "
                "do not deploy this file; export it again or in a wider precision"
            )
    return Parity(allowed, found, _widened(graph), least)


def differences(
    model: nn.Module,
    path: Path,
    batches: tuple[int, ...] = (1, 2, 7),
    *,
    seed: int = 0,
    images: Iterable[Any] | None = None,
) -> tuple[Difference, ...]:
    """What `check_parity` compares, whatever it is: for every batch and output, how far the graph is from the model."""
    graph = read_graph(path)
    precision = graph_precision(declared_precisions(graph))
    if not batches or min(batches) < 1:
        raise ExportError(f"the batches to compare are {list(batches)}, but at least one is needed, each 1 or more")
    if images is None and precision in EIGHT_BITS:
        raise ExportError(
            f"{path.name} is in {precision}, which is right for real images alone: give images to compare"
        )
    session = runnable(path)
    takes, gives = graph_tensors(graph)
    names, spec = [output.name for output in gives], None if images is not None else _spec(graph, takes)
    drawn = (spec.draw(batch, seed + number) for number, batch in enumerate(batches)) if spec is not None else ()
    found: list[Difference] = []
    for inputs in drawn if images is None else (one for one, _ in images):
        found += _compared(model, session, path, inputs, [tensor.name for tensor in takes], names)
    if not found:
        raise ExportError("there are no images to compare: give one batch or more")
    return tuple(found)


def runnable(path: Path, threads: int | None = None) -> Any:
    """A session on a graph of any precision: bf16, which ONNX Runtime has no kernels for, is run in float32."""
    graph = read_graph(path)
    fp8 = graph_precision(declared_precisions(graph)) == "fp8"  # it has no kernels either, and 1.32 cannot fuse a Clip
    return session_of(in_float32(path) if _widened(graph) else str(path), path, as_written=fp8, threads=threads)


def _widened(graph: onnx.ModelProto) -> bool:
    from onnx import TensorProto

    return TensorProto.BFLOAT16 in element_types(graph).values()


def _cosine_too(difference: Difference, least: float) -> str:
    return f", and its cosine is {difference.cosine:.4f}, below {least}" if not difference.cosine >= least else ""


def _parting(reference: str | Path | None, path: Path, images: Iterable[Any] | None, least: float) -> str:
    """Where the graph parts from its reference, as the end of a sentence."""
    if reference is None or images is None:
        return ""
    from secateur.export.quantize.divergence import first_divergence

    first = first_divergence(reference, path, images, least)
    return (
        f"; the first product that differs is {first.tensor} (cosine {first.cosine:.4f}, {first.before:.4f} before it)"
    )


def _compared(
    model: nn.Module, session: Any, path: Path, inputs: ModelInputs, takes: list[str], names: list[str]
) -> list[Difference]:
    """How the outputs `names` of the session differ from the model's for one batch of inputs."""
    feeds = {name: tensor.cpu().numpy() for name, tensor in flat_inputs(model, inputs).items()}
    if sorted(feeds) != sorted(takes):
        raise ExportError(
            f"{path.name} has the inputs {takes}, but the model takes {list(feeds)}: export this model again"
        )
    batch = samples_of(inputs)
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
    return [
        _difference(batch, name, expected[name].float().cpu().numpy(), array)
        for name, array in zip(names, computed, strict=True)
    ]


def noted_inputs(graph: onnx.ModelProto) -> InputSpec | None:
    """What the graph's model is called with, as `export_onnx` has noted it; None for a graph of others.

    Raises `ExportError` for a note that is none of ours.
    """
    notes = {entry.key: entry.value for entry in graph.metadata_props}
    if INPUTS not in notes:
        return None
    try:
        return InputSpec.from_json(parse_json(notes[INPUTS]))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ExportError(f"the note {INPUTS} of the graph is none of secateur ({error}): export it again") from error


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
    return Difference(batch, name, max_abs, scale, relative, cosine(expected, computed), _agreement(expected, computed))


def cosine(one: NDArray[Any], other: NDArray[Any]) -> float:
    """The cosine between two arrays of a shape; 1 where both are zero."""
    left, right = one.ravel().astype(np.float64), other.ravel().astype(np.float64)
    lengths = float(np.linalg.norm(left) * np.linalg.norm(right))
    return float(left @ right) / lengths if lengths > 0 else float(np.array_equal(left, right))


def _agreement(one: NDArray[Any], other: NDArray[Any]) -> float:
    """The share of rows whose largest value has the same place in both."""
    if one.size == 0 or one.ndim < 2:
        return float(np.array_equal(one, other))
    rows = (len(one), -1)
    return float((one.reshape(rows).argmax(1) == other.reshape(rows).argmax(1)).mean())


def session_of(source: str | bytes, path: Path, *, as_written: bool = False, threads: int | None = None) -> Any:
    """A session on a graph, or on its bytes; `as_written` fuses nothing. `path` names it in errors.

    It has PyTorch's number of `threads`, unless another is given.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPackageError("onnxruntime", "the comparison of ONNX with PyTorch", "cpu") from error
    how = {}
    if isinstance(source, str):
        check_onnx(Path(source))
        how = session_options(Path(source))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 4
    if as_written:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"], **how)
    except Exception as error:  # ONNX Runtime's exceptions share no public base class
        raise ExportError(f"ONNX Runtime cannot load {path.name} ({first_line(error)}): export it again") from error


def in_float32(path: Path) -> bytes:
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
