"""The number formats that an ONNX graph declares, read from the graph itself and not from what somebody asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from secateur.core.errors import ExportError
from secateur.export.runner.errors import InferenceError
from secateur.export.runner.graph_check import check_graph
from secateur.export.runner.tensors import DYNAMIC, TensorInfo

if TYPE_CHECKING:
    import onnx

COMPUTE = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm", "Attention", "Einsum"})
"""The operations that do nearly all the arithmetic, and whose precision therefore is that of the graph."""

WIDTHS = {"fp8": 8, "int8": 8, "fp16": 16, "bf16": 16, "fp32": 32, "fp64": 64}
"""The known precisions with their bits."""

_ELEMENTS = {1: "fp32", 10: "fp16", 16: "bf16", 11: "fp64", 2: "int8", 3: "int8", 17: "fp8", 19: "fp8"}
"""The precision of each floating-point or 8-bit element type of ONNX (TensorProto.DataType)."""

LONGEST = 240
"""Characters of another library's error that are told."""


def read_graph(path: Path) -> onnx.ModelProto:
    """The ONNX model at `path` without its external weights.

    Raises `ExportError` for a file that is none, and for one that `check_graph` refuses.
    """
    import onnx

    if not path.exists():
        raise ExportError(f"there is no ONNX model at {path}: export one first")
    check_onnx(path)
    try:
        return onnx.load(str(path), format="protobuf", load_external_data=False)
    except Exception as error:  # protobuf and onnx raise several unrelated types for a damaged file
        raise ExportError(f"{path} is not a readable ONNX model ({first_line(error)}): export it again") from error


def check_onnx(path: Path) -> None:
    """Raises `ExportError` for a file that no runtime may open, see `check_graph`."""
    try:
        check_graph(path)
    except InferenceError as error:
        raise ExportError(str(error)) from error


def graph_tensors(model: onnx.ModelProto) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]:
    """The inputs and the outputs of a graph; initializers are not inputs."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    return _tensors(inputs), _tensors(model.graph.output)


def external_files(model: onnx.ModelProto) -> tuple[str, ...]:
    """The names of the files beside the .onnx that hold its weights; raises `ExportError` for one elsewhere."""
    names = {
        entry.value for tensor in model.graph.initializer for entry in tensor.external_data if entry.key == "location"
    }
    for name in names:
        if Path(name).name != name:
            raise ExportError(
                f"the ONNX graph reads its weights from {name!r}, but they must lie beside it: export again"
            )
    return tuple(sorted(names))


def declared_precisions(model: onnx.ModelProto) -> dict[str, str]:
    """For each named operation of `COMPUTE`, the precision it is declared in (`fp32`, `fp16`, `int8`, ...).

    An operation on dequantised tensors is declared in the 8-bit type before the DequantizeLinear; any other one in
    the type of its output, or where the graph does not say, in that of an input.
    """
    types = element_types(model)
    producer = {output: node for node in model.graph.node for output in node.output}
    declared: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type not in COMPUTE:
            continue
        sources = [producer.get(name) for name in node.input[:2]]
        quantised = [source for source in sources if source is not None and source.op_type == "DequantizeLinear"]
        if quantised and len(quantised) == len(sources):
            precision = _ELEMENTS.get(types.get(quantised[0].input[0], 0))
        else:
            precision = operand_precision(node, types)
        if precision is not None:
            declared[node.name or node.output[0]] = precision
    return declared


def operand_precision(node: onnx.NodeProto, types: Mapping[str, int]) -> str | None:
    """The precision of a node's output, or of its first input whose type is known to be one; None without any."""
    names = [*node.output[:1], *node.input[:2]]
    return next((_ELEMENTS[types[name]] for name in names if types.get(name) in _ELEMENTS), None)


def graph_precision(declared: dict[str, str]) -> str:
    """The narrowest precision among the declared ones: the word that names the graph; `fp32` for none."""
    counts = Counter(declared.values())
    return min(counts, key=lambda precision: (WIDTHS[precision], -counts[precision], precision), default="fp32")


def bit_ops(macs: float, precision: str) -> float:
    """The bit-operations (BOPs) of so many multiply-accumulates whose operands are both of that precision.

    MACs times the bits of both operands, so that int8 costs a sixteenth of fp32: the measure of mixed precision (van
    Baalen et al., Bayesian Bits, 2005.07093, 2.4).
    """
    return macs * WIDTHS[precision] ** 2


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    """The element type (`TensorProto.DataType`) of every tensor of the graph that is known or can be inferred."""
    import onnx

    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except Exception as error:  # onnx raises its own InferenceError, protobuf others
        raise ExportError(f"the types of the ONNX graph cannot be inferred ({first_line(error)})") from error
    values = [*graph.input, *graph.value_info, *graph.output]
    types = {value.name: value.type.tensor_type.elem_type for value in values if value.type.tensor_type.elem_type}
    types.update({tensor.name: tensor.data_type for tensor in graph.initializer})
    for node in graph.node:
        if node.op_type == "Cast" and node.output[0] not in types:
            types[node.output[0]] = next(attribute.i for attribute in node.attribute if attribute.name == "to")
    return types


def first_line(error: BaseException) -> str:
    """The first line of an error's text, without its final full stop; the type's name where there is no text.

    A line of more than `LONGEST` characters ends with an ellipsis: an expression of a tracer may take pages.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    found = (lines[0] if lines else type(error).__name__).rstrip(".")
    return found if len(found) <= LONGEST else f"{found[:LONGEST].rstrip()}..."


def _tensors(values: Iterable[onnx.ValueInfoProto]) -> tuple[TensorInfo, ...]:
    from onnx import helper

    found = []
    for value in values:
        kind = value.type.tensor_type
        shape = tuple(dim.dim_value if dim.HasField("dim_value") else DYNAMIC for dim in kind.shape.dim)
        found.append(TensorInfo(value.name, str(helper.tensor_dtype_to_np_dtype(kind.elem_type)), shape))
    return tuple(found)
