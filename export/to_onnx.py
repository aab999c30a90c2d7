"""A PyTorch model as an ONNX file with a dynamic batch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from secateur.core.errors import ExportError
from secateur.core.input_spec import InputSpec
from secateur.core.model_inputs import ModelInputs, call, map_tensors, moved, tensors_in
from secateur.core.modules import device_of, evaluating
from secateur.export.function_modes import ConvolutionBySample, FoldAsConvolution, FourDimensions
from secateur.export.graph_file import write_graph
from secateur.export.graph_tidy import adopt_constants, follow_batch, plain_einsums, tidy
from secateur.export.graph_types import first_line, graph_tensors
from secateur.export.half.measure import float32_nodes
from secateur.export.half.narrow import narrow
from secateur.export.onnx_info import OnnxInfo, note_kept, onnx_info
from secateur.export.precision import OPSETS, check_float32, parse_type
from secateur.export.quantize.observe import feeds_of
from secateur.export.quiet import quiet
from secateur.export.runner.tensors import TensorInfo
from secateur.export.signature import flat_inputs, flat_outputs
from secateur.kernels.fuse import fuse, is_fused
from secateur.kernels.fused_modules import FusedAttention
from secateur.kernels.onnx_function import add_functions
from secateur.kernels.onnx_program import lowered

if TYPE_CHECKING:
    import onnx_ir as ir


def export_onnx(
    model: nn.Module,
    path: str | Path,
    example: ModelInputs | None = None,
    input_shape: tuple[int, ...] | None = None,
    opset: int | None = None,
    *,
    precision: str = "fp32",
    metadata: Mapping[str, str] | None = None,
    kernels: bool = False,
    calibration: Iterable[Any] | None = None,
) -> OnnxInfo:
    """Writes `model` to `path` as ONNX and says what was written.

    The graph has one float32 input `input` `[batch, *input_shape]` and one float32 output `logits`, or several, which
    have the names that the model's code has for them (`signature`). The batch is dynamic. `precision` types everything
    in between, but for nodes that fp16 cannot hold: `OnnxInfo.kept` says which stay float32 and why. The graph itself
    shows some; what overflows is found with `calibration` images alone, any iterable of (images, labels) that can be
    read several times. The shapes come from an `example` (a tensor, a tuple or a dictionary, any batch), from
    `input_shape` (one sample, no batch) or from the model's own timm configuration. With `kernels`, attention stays one
    node, `secateur::RaggedAttention`, with a function of standard operators as its body: the TensorRT plugin takes its
    place, and every other runtime runs the function. The model keeps its mode, device and weights. The file is checked
    by `onnx.checker` before it replaces an older one. Raises `ExportError` when the model cannot run, cannot be
    exported, or has a batch that its code fixes, and `KernelError` when `kernels` is asked of a model without such
    attention.

    >>> info = sc.export_onnx(small, "small.onnx")
    >>> str(info.inputs[0]), str(info.outputs[0])
    ('input float32 [batch, 3, 16, 16]', 'logits float32 [batch, 5]')
    """
    path = Path(path)
    kind = parse_type(precision)
    spec = _input_spec(model, example, input_shape)
    ours = fuse(model, ["ragged_attention"]) if kernels and not is_fused(model) else model
    if kernels and not any(isinstance(module, FusedAttention) for module in ours.modules()):
        raise ExportError(
            f"{type(model).__name__} has no attention that the kernels serve: fuse() its attention too, or export it "
            "without kernels"
        )
    inputs = spec.draw(2, device=device_of(model), normal=lambda shape, _: torch.zeros(*shape))
    batched = tuple(tensor.batched for tensor in spec.tensors)
    check_float32(model)
    graph = _Graph(ours, inputs, batched)
    program = _exported(graph, opset or OPSETS[kind], kernels)
    add_functions(program)
    follow_batch(program, path.name, batched)
    adopt_constants(program)
    plain_einsums(program)
    tidy(program, {**_described(spec), "precision": kind, **(metadata or {})})
    if kind != "fp32":
        feeds = None if calibration is None or kind == "bf16" else feeds_of(calibration, _takes(program))
        kept = float32_nodes(program, kind, feeds.every() if feeds is not None else ())
        note_kept(program, narrow(program, kind, kept), 0 if feeds is None else feeds.images)
    external = write_graph(program, path)
    return onnx_info(path, external)


class _Graph(nn.Module):
    """The model as the graph sees it: float32 tensors in, a tuple of float32 tensors out.

    The tensors that go in are those of `example`, in their order; those `batched` have a row for each sample.
    """

    def __init__(self, model: nn.Module, example: ModelInputs, batched: tuple[bool, ...]) -> None:
        super().__init__()
        self.model = model
        self.example = example
        self.batched = batched

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        rows = iter(tensors)
        inputs = moved(map_tensors(lambda _: next(rows), self.example), tensors[0].device)
        with FourDimensions(), FoldAsConvolution(), ConvolutionBySample():
            outputs = flat_outputs(call(self.model, inputs))
        return tuple(tensor.float() if tensor.is_floating_point() else tensor for tensor in outputs.values())


def _takes(program: ir.Model) -> tuple[TensorInfo, ...]:
    import onnx_ir as ir

    return graph_tensors(ir.to_proto(program))[0]


def _described(spec: InputSpec) -> dict[str, str]:
    """The inputs in the words of the file's metadata."""
    return {"inputs": json.dumps(spec.to_json())} if spec.shape is None else {"input_shape": _times(spec.shape)}


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _input_spec(model: nn.Module, example: ModelInputs | None, input_shape: tuple[int, ...] | None) -> InputSpec:
    if example is not None:
        return InputSpec.of(example)
    if input_shape is not None:
        return InputSpec.shaped(input_shape)
    config = getattr(model, "pretrained_cfg", None) or {}
    size = config.get("input_size") if isinstance(config, Mapping) else None
    if not size:
        raise ExportError("the shape of an input is not known: give an example or input_shape, such as (3, 224, 224)")
    built = getattr(getattr(model, "patch_embed", None), "img_size", None)  # of the model, where that fixes it
    return InputSpec.shaped((size[0], *built) if isinstance(built, tuple) else tuple(size))


def _exported(graph: _Graph, opset: int, kernels: bool) -> ir.Model:
    fused, tensors = is_fused(graph), tuple(tensors_in(graph.example))
    with evaluating(graph), torch.no_grad(), quiet():
        try:
            outputs = flat_outputs(call(graph.model, moved(graph.example, tensors[0].device)))
        except ExportError:
            raise
        except Exception as error:  # a model's forward may raise anything
            raise ExportError(
                f"the model cannot run on the input {InputSpec.of(graph.example)} ({first_line(error)}): "
                "give an example or an input_shape that fits it"
            ) from error
        try:
            batch = (tuple({0: torch.export.Dim.DYNAMIC} if rows else None for rows in graph.batched),)
            source = lowered(torch.export.export(graph, tensors, dynamic_shapes=batch), kernels) if fused else graph
            program = torch.onnx.export(
                source,
                tensors,
                dynamo=True,
                dynamic_shapes=None if fused else batch,
                input_names=list(flat_inputs(graph.model, graph.example)),
                output_names=list(outputs),
                opset_version=opset,
                verbose=False,
            )
        except Exception as error:  # the exporter wraps whatever the tracer, the model or a translation raises
            raise ExportError(_export_failure(error)) from error
    if program is None:
        raise ExportError("torch.onnx.export gave no program: update torch to a version with the dynamo exporter")
    return program.model


def _export_failure(error: BaseException) -> str:
    """One sentence about a failed export: the deepest cause is what the user can act on."""
    text = str(error)
    while error.__cause__ is not None:
        error = error.__cause__
        text += str(error)
    if "specialized" in text or "Constraints violated" in text:
        return (
            "the model's code fixes the batch size, so it cannot be exported with a dynamic batch: let its forward "
            f"take the batch from the input's shape ({first_line(error)})"
        )
    return (
        f"PyTorch cannot export the model ({type(error).__name__}: {first_line(error)}): "
        "its forward must consist of tensor operations that torch.export can trace"
    )
