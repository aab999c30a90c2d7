"""Which layers an engine has, and in which precision each of them runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from secateur.core.errors import EngineError
from secateur.core.json_text import parse_json
from secateur.export.engine_info import ARITHMETIC, Layer
from secateur.export.graph_types import WIDTHS
from secateur.export.trt_runtime import precision_of

PRODUCTS = frozenset({"CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "EINSUM", "ATTENTION", "ATTENTION_OUTPUT"})
"""The layers of a network that operations of `graph_types.COMPUTE` become."""

_WORDS = (
    ("bf16", r"bf16|bfloat16"),
    ("fp16", r"fp16|half|float16"),
    ("fp8", r"fp8"),
    ("int8", r"int8"),
    ("fp32", r"fp32|float32|\bfloat\b"),  # last: the others contain its words
)
_KERNELS = frozenset({"gemm", "correlation"})
"""Layers of TensorRT-RTX that are one product, so that it runs in the types of what they read."""

_PRODUCT_KINDS = re.compile(r"conv(?!ert)|gemm|matrix_?multiply|matmul|correlation")
_PRODUCT_KERNELS = re.compile(r"gemm|_mha")
"""In the kinds of layers of loaded engines, and in the names of those that fuse several operations."""

_REPORTED = re.compile(
    r"^Name: (?P<name>[^,]*), LayerType: (?P<kind>[^,]*), Inputs: \[(?P<inputs>.*)\], Constants: \[.*\], "
    r"Outputs: \[(?P<outputs>.*)\], TacticName: (?P<tactic>[^,]*).*, Metadata: (?P<metadata>.*)$",
    re.MULTILINE,
)
_ONNX_LAYER = re.compile(r"\[ONNX Layer: ([^\]]*)\]")


def network_layers(network: Any) -> tuple[Layer, ...]:
    """The layers of a parsed network that compute on data, with the type of their first output; no constants.

    A product of tensors that all come out of 8 bits has the type that these had there: it runs in that.
    """
    found = []
    stored: dict[str, str] = {}  # of each dequantised tensor, the precision that it had
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        kind = layer.type.name
        if kind == "CONSTANT" or layer.num_outputs == 0:
            continue
        precision = precision_of(layer.get_output(0).dtype)
        if kind == "DEQUANTIZE":
            stored[layer.get_output(0).name] = precision_of(layer.get_input(0).dtype)
        elif kind == "SHUFFLE" and layer.get_input(0).name in stored:
            stored[layer.get_output(0).name] = stored[layer.get_input(0).name]
        elif kind in PRODUCTS:
            operands = [layer.get_input(place) for place in range(min(2, layer.num_inputs))]
            types = {stored.get(tensor.name, "") for tensor in operands if tensor is not None}
            precision = types.pop() if len(types) == 1 and "" not in types else precision
        if precision in ARITHMETIC:
            found.append(Layer(layer.name, kind, precision))
    return tuple(found)


@dataclass(frozen=True)
class InspectedLayer:
    """One layer of a loaded engine, as the inspector describes it.

    `operations` are the ONNX operations that it was made of, where the inspector names them, and `precisions` those of
    the tensors which go in and come out, as far as we know their types; `reads` are those which go in. `tactic` is the
    name of the kernel, empty where there is none yet.
    """

    name: str
    kind: str
    operations: tuple[str, ...]
    precisions: tuple[str, ...]
    reads: tuple[str, ...] = ()
    tactic: str = ""

    @property
    def attends(self) -> bool:
        """Whether it is a fused attention: both products and the softmax between them."""
        return "mha" in self.name.lower()


def reported_layers(text: str) -> tuple[InspectedLayer, ...]:
    """The layers of an engine from what TensorRT-RTX's builder says about them, on a machine without the GPU too.

    Its inspector says the same of a loaded engine, in JSON.
    """
    found = []
    for match in _REPORTED.finditer(text):
        reads, gives = (tuple(_types_in(re.findall(r"Datatype: (\w+)", match[side]))) for side in ("inputs", "outputs"))
        operations = _ONNX_LAYER.findall(match["metadata"]) or [match["name"]]
        types = (*reads, *gives)
        found.append(InspectedLayer(match["name"], match["kind"], tuple(operations), types, reads, match["tactic"]))
    return tuple(found)


def engine_layers(trt: ModuleType, engine: Any) -> tuple[InspectedLayer, ...]:
    """What the engine inspector says about each layer of a loaded engine.

    Raises `EngineError` for an engine that was built without detailed profiling information.
    """
    return inspected_layers(engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON))


def inspected_layers(text: str) -> tuple[InspectedLayer, ...]:
    """The layers in what the engine inspector says as JSON; raises `EngineError` as `engine_layers` does."""
    try:
        layers = parse_json(text)["Layers"]
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError(f"the engine inspector gave no list of layers ({error}): build the engine again") from error
    if not isinstance(layers, list) or any(not isinstance(layer, dict) for layer in layers):
        raise EngineError("the engine holds the names of its layers only: build it again with secateur")
    return tuple(map(inspected_layer, layers))


def inspected_layer(content: Mapping[str, Any]) -> InspectedLayer:
    """A layer from its object in the inspector's JSON."""
    name = str(content.get("Name", ""))
    operations = _ONNX_LAYER.findall(str(content.get("Metadata", ""))) or [name]
    reads, gives = (tuple(_tensor_types(content.get(side, ()))) for side in ("Inputs", "Outputs"))
    kind, tactic = str(content.get("LayerType", "")), str(content.get("TacticName", ""))
    return InspectedLayer(name, kind, tuple(operations), (*reads, *gives), reads, tactic)


def summarise(layers: Iterable[InspectedLayer]) -> tuple[Layer, ...]:
    """The inspected layers as `Layer`s: the precision is that of the narrowest tensor which goes in or comes out."""
    return tuple(Layer(layer.name, layer.kind, _narrowest(layer.precisions)) for layer in layers)


def product_layers(layers: Iterable[Layer]) -> tuple[Layer, ...]:
    """Those that multiply, by their kinds and what TensorRT calls its kernels; all that compute where none tells it."""
    found = tuple(one for one in layers if one.precision in ARITHMETIC)
    return tuple(one for one in found if _multiplies(one)) or found


def _multiplies(layer: Layer) -> bool:
    kind = layer.kind.lower()
    return kind.upper() in PRODUCTS or bool(_PRODUCT_KINDS.search(kind) or _PRODUCT_KERNELS.search(layer.name.lower()))


def check_layers(layers: Iterable[Layer], declared: Mapping[str, str], name: str) -> None:
    """Raises `EngineError` for a product of the network in another precision than the graph declares for it.

    A product declared in 8 bits has lost its Q/DQ pairs where it is read as a wider one.
    """
    for layer in layers:
        wanted = declared.get(layer.name)
        if layer.kind in PRODUCTS and wanted in ARITHMETIC and layer.precision != wanted:
            raise EngineError(
                f"{name} reads {layer.name} as {layer.precision}, but the ONNX graph declares {wanted}: "
                "the engine would not run in the precision that was asked for"
            )


def check_engine(layers: Iterable[InspectedLayer], declared: Mapping[str, str], name: str) -> None:
    """Raises `EngineError` for an inspected engine that runs operations in another precision than declared.

    An operation that is alone in a layer must touch a tensor of the declared type, there or where the rest of it runs,
    and a layer that is a product alone must not read wider ones only: what was declared in 8 bits would run in 16. A
    fused layer may hold that type inside only, so it is judged with all others: where several layers hold operations of
    a precision, its type must occur in one of them. Types unknown to us, and layers that fuse differently declared
    operations, are not judged.
    """
    layers, held = tuple(layers), dict[str, list[set[str]]]()
    touched: dict[str, set[str]] = {}  # by each operation, in all layers that it became: a product and what ends it
    for layer in layers:
        for operation in layer.operations:
            touched.setdefault(operation, set()).update(layer.precisions)
    for layer in layers:
        wanted = {declared[operation] for operation in layer.operations if operation in declared}
        types = {*layer.precisions} & ARITHMETIC
        if len(wanted) != 1 or not types:
            continue
        (precision,) = wanted
        held.setdefault(precision, []).append(types)
        reads = {*layer.reads} & ARITHMETIC
        if layer.kind in _KERNELS and reads and min(map(WIDTHS.__getitem__, reads)) > WIDTHS[precision]:
            products = ", ".join(operation for operation in layer.operations if operation in declared)
            raise _mismatch(name, products, reads, precision)
        if len(layer.operations) == 1 and precision not in touched[layer.operations[0]]:
            raise _mismatch(name, layer.name, types, precision)
    for precision, found in held.items():
        union = set().union(*found)
        if len(found) > 1 and precision not in union:
            raise _mismatch(name, f"all {len(found)} layers of products", union, precision)


def _mismatch(name: str, what: str, types: set[str], precision: str) -> EngineError:
    return EngineError(
        f"{name} runs {what} in {', '.join(sorted(types))}, but the ONNX graph declares {precision}: this engine is "
        "not in the precision that was asked for; try another version of the runtime, or build it in that precision"
        f"{', or name the product in export.quantize.keep' if WIDTHS.get(precision) == 8 else ''}"
    )


def _tensor_types(tensors: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    return _types_in(str(one.get("Format/Datatype", one.get("Datatype", one.get("Format", "")))) for one in tensors)


def _types_in(words: Iterable[str]) -> Iterator[str]:
    """Our words for types of the inspector, those that we know."""
    for word in words:
        for precision, pattern in _WORDS:
            if re.search(pattern, word.lower()):
                yield precision
                break


def _narrowest(types: Iterable[str]) -> str:
    order = ("int8", "fp8", "bf16", "fp16", "fp32")
    return min(types, key=order.index, default="unknown")
