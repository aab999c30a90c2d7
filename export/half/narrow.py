"""A float32 graph in fp16 or bf16, but for the nodes that are to keep float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from secateur.export.quantize.graph_edit import add_constant, array_of

if TYPE_CHECKING:
    import onnx_ir as ir
    from onnx.defs import OpSchema

Half = Literal["fp16", "bf16"]
WIDER = "ONNX has no {op} in {precision} at opset {opset}"
_ATTRIBUTES = ("to", "dtype")
_MOST: Mapping[Half, float] = {"fp16": 65504.0, "bf16": (2 - 2.0**-7) * 2.0**127}


def narrow(program: ir.Model, precision: Half, keep: Mapping[str, str]) -> dict[str, str]:
    """Retypes the program in place; returns the nodes that compute in float32 by their names, with the reasons.

    Those are the nodes of `keep`, and those whose operation ONNX does not define for the type. Inputs and outputs stay
    float32, values keep their names, and casts stand where the types meet. What an operation has in float32 by its
    definition (the sizes of a `Resize`, the sums of a `LayerNormalization`) stays so, and the scales of Q/DQ pairs have
    the type of what they scale.
    """
    return _Narrowing(program, precision).run(keep)


class _Narrowing:
    def __init__(self, program: ir.Model, precision: Half) -> None:
        import onnx_ir as ir

        self.program, self.graph, self.precision = program, program.graph, precision
        self.wide = ir.DataType.FLOAT
        self.element = ir.DataType.FLOAT16 if precision == "fp16" else ir.DataType.BFLOAT16
        inner = (value for node in self.graph for value in node.outputs)
        known = (*self.graph.inputs, *self.graph.initializers.values(), *inner)
        self.floats = {value for value in known if value.dtype == self.wide}
        self.casts: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}

    def run(self, keep: Mapping[str, str]) -> dict[str, str]:
        kept = {}
        for node in list(self.graph):
            why = keep.get(str(node.name)) or self._undefined(node)
            if why:
                kept[str(node.name)] = why
            self._retype(node, bool(why))
        for place, value in enumerate(self.graph.outputs):
            if value in self.floats and value.dtype != self.wide:
                self._widen_output(place, value)
        for (old, _), new in self.casts.items():  # a weight that nothing reads in float32 gives its name away
            if old.const_value is not None and not old.uses() and not old.is_graph_output():
                name = str(old.name)
                del self.graph.initializers[name]
                del self.graph.initializers[str(new.name)]
                new.name = name
                self.graph.register_initializer(new)
        return kept

    def _retype(self, node: ir.Node, stays: bool) -> None:
        """Gives a node's inputs, attributes and outputs their types."""
        import onnx_ir as ir

        for inner in (one for part in _subgraphs(node) for one in part):
            for place, value in enumerate(inner.inputs):
                if value in self.floats:
                    inner.replace_input_with(place, self._as(value, self.wide))
        source = node.inputs[0] if node.op_type == "QuantizeLinear" else None
        stays = stays or bool(_subgraphs(node)) or (source is not None and source.dtype == self.wide)
        bound: dict[str, ir.DataType] = {}
        for place, value in enumerate(node.inputs):
            if value is None or value not in self.floats:
                continue
            word = self._word(node, place)
            wanted = self.wide if stays or word == "tensor(float)" else self.element
            bound[word] = wanted
            node.replace_input_with(place, self._as(value, wanted))
        made = self._of_attributes(node, stays)
        if node.op_type == "DequantizeLinear":
            made = self.wide if stays else self.element
        for place, value in enumerate(node.outputs):
            if value in self.floats:
                element = bound.get(self._word(node, place, outputs=True), made)
                value.type = ir.TensorType(element)  # not `value.dtype`, which a clone of the program shares

    def _of_attributes(self, node: ir.Node, stays: bool) -> ir.DataType:
        """The type of outputs that no input decides; the attributes that say it are changed."""
        import onnx_ir as ir

        if stays:
            return self.wide
        if node.domain not in ("", "ai.onnx"):
            return self.element
        for name in _ATTRIBUTES:
            if name in node.attributes and node.attributes[name].as_int() == self.wide:
                node.attributes[name] = ir.AttrInt64(name, int(self.element))
                return self.element
        content = node.attributes.get("value")
        if content is not None and content.type == ir.AttributeType.TENSOR and content.as_tensor().dtype == self.wide:
            array = rounded(content.as_tensor().numpy(), self.precision)
            node.attributes["value"] = ir.AttrTensor("value", ir.tensor(array, dtype=self.element))
            return self.element
        return self.wide

    def _undefined(self, node: ir.Node) -> str:
        """Why a node cannot be in the type at all; empty where it can."""
        schema = self._schema(node)
        if schema is None:
            return ""
        allowed = {one.type_param_str: one.allowed_type_strs for one in schema.type_constraints}
        ours = "tensor(float16)" if self.precision == "fp16" else "tensor(bfloat16)"
        for place, value in enumerate(node.inputs):
            word = self._word(node, place)
            if value is not None and value in self.floats and word in allowed and ours not in allowed[word]:
                return WIDER.format(op=node.op_type, precision=self.precision, opset=self.program.opset_imports[""])
        return ""

    def _schema(self, node: ir.Node) -> OpSchema | None:
        from onnx import defs

        version = self.program.opset_imports.get("", 0)
        known = node.domain in ("", "ai.onnx") and defs.has(node.op_type, version)
        return defs.get_schema(node.op_type, version) if known else None

    def _word(self, node: ir.Node, place: int, outputs: bool = False) -> str:
        """The type of an input or output in its operation's definition; of our own functions, one for all."""
        schema = self._schema(node)
        if schema is None:
            return "T"
        formal = schema.outputs if outputs else schema.inputs
        return str(formal[min(place, len(formal) - 1)].type_str)  # the last one of a list may be repeated

    def _as(self, value: ir.Value, element: ir.DataType) -> ir.Value:
        """The value in a type: itself, or what is cast from it, once for all readers."""
        if value.dtype == element:
            return value
        key = (value, element)
        if key not in self.casts:
            name = f"{value.name}.{'fp32' if element == self.wide else self.precision}"
            if value.const_value is not None and value.producer() is None:
                array = rounded(array_of(value), self.precision)
                self.casts[key] = add_constant(self.graph, name, array, element)
                self.casts[self.casts[key], self.wide] = value  # who needs it in float32 after all gets the old one
            else:
                self.casts[key] = self._cast(value, name, element)
        return self.casts[key]

    def _cast(self, value: ir.Value, name: str, element: ir.DataType) -> ir.Value:
        import onnx_ir as ir

        producer = value.producer()
        scale = producer.inputs[1] if producer is not None and producer.op_type == "DequantizeLinear" else None
        if producer is not None and scale is not None:  # between a pair and its product there is no cast
            inputs = [producer.inputs[0], self._as(scale, element), *producer.inputs[2:]]
            attributes = list(producer.attributes.values())
            node = ir.Node("", "DequantizeLinear", inputs, attributes, num_outputs=1, name=f"{name}.dequantize")
        else:
            node = ir.node("Cast", [value], {"to": int(element)}, name=f"{name}.cast")
        made = node.outputs[0]
        made.name, made.shape, made.type = name, value.shape, ir.TensorType(element)
        if producer is None:
            self.graph.insert_before(next(iter(self.graph)), [node])
        else:
            self.graph.insert_after(producer, [node])
        return made

    def _widen_output(self, place: int, value: ir.Value) -> None:
        """Casts an output of the graph to float32; the cast gets its name."""
        name = str(value.name)
        value.name = f"{name}.{self.precision}"
        made = self._cast(value, f"{name}.fp32", self.wide)
        made.name = name
        self.graph.outputs[place] = made


def rounded(array: NDArray[Any], precision: Half) -> NDArray[Any]:
    """The array in the type; float32's lowest and highest numbers, which stand for no limit, become the type's own."""
    import ml_dtypes

    limit = np.finfo(np.float32).max
    dtype = np.dtype(np.float16 if precision == "fp16" else ml_dtypes.bfloat16)
    most = _MOST[precision]
    with np.errstate(over="ignore"):
        found = array.astype(dtype)
    return np.where(array == limit, dtype.type(most), np.where(array == -limit, dtype.type(-most), found)).astype(dtype)


def _subgraphs(node: ir.Node) -> list[ir.Graph]:
    import onnx_ir as ir

    return [one.as_graph() for one in node.attributes.values() if one.type == ir.AttributeType.GRAPH]
