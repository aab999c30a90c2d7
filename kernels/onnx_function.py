"""`secateur::RaggedAttention` as an ONNX function of standard operators, so that every runtime can run the node."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from secateur.core.errors import KernelError
from secateur.kernels.heads import HeadLayout

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

DOMAIN = "secateur"
NAME = "RaggedAttention"
VERSION = 1
INPUTS = ("qkv", "qkv_bias", "bias", "mask")
ATTRIBUTES = ("qk_dims", "v_dims", "scale")


def function_name(layout: HeadLayout, present: Sequence[bool]) -> str:
    """The name of the function for these heads and these inputs, such as `RaggedAttention_2x24v24_1x64v64_s3e000000`.

    Not one name with ONNX's overloads: the parser of TensorRT-RTX 1.7 takes any function of the same name.
    """
    runs = [f"{count}x{qk}v{v}" for (qk, v), count in _runs(layout)]
    given = "".join(letter for letter, there in zip("pbm", present, strict=True) if there)
    scale = f"s{np.float32(layout.scale).view(np.uint32):08x}"
    return "_".join([NAME, *runs, scale, *([given] if given else [])])


def ragged_attention_function(layout: HeadLayout, present: Sequence[bool], opset: int) -> ir.Function:
    """The function for the heads of `layout`; `present` says which of the inputs after `qkv` the node has.

    The heads of each distinct pair of widths are one batched product, as in `portable.ragged_attention`. The types are
    those of `qkv`: constants are cast to it. `opset` (18 or newer) is that of the model. Logits that are all minus
    infinity give zeros, as our kernels do.
    """
    import onnx_ir as ir

    body = _Body()
    qkv = ir.Value(name="qkv")
    given = {name: ir.Value(name=name) for name, there in zip(INPUTS[1:], present, strict=True) if there}
    packed = body.op("Add", qkv, given["qkv_bias"]) if "qkv_bias" in given else qkv
    runs = _runs(layout)
    sizes = [count * pair[part] for part in (0, 0, 1) for pair, count in runs]
    pieces = body.split(packed, sizes)
    mask = body.op("Unsqueeze", body.of_batch(given["mask"], qkv), body.ints([1])) if "mask" in given else None
    scale = body.op("CastLike", body.constant(np.float32(layout.scale)), qkv)
    results: dict[int, ir.Value] = {}
    for (qk, v), heads in layout.by_width().items():
        mine = [index for index, (pair, _) in enumerate(runs) if pair == (qk, v)]
        q, k, values = (
            body.heads(body.concat([pieces[part * len(runs) + index] for index in mine]), len(heads), width, key)
            for part, width, key in ((0, qk, False), (1, qk, True), (2, v, False))
        )
        logits = body.op("MatMul", body.op("Mul", q, scale), k)
        if "bias" in given:
            logits = body.op("Add", logits, body.of_heads(given["bias"], heads))
        if mask is not None:
            logits = body.op("Add", logits, mask)
        weights = body.op("Softmax", logits, axis=-1)
        if "bias" in given or "mask" in given:
            zero = body.op("CastLike", body.constant(np.float32(0)), qkv)
            weights = body.op("Where", body.op("IsNaN", weights), zero, weights)
        out = body.op("MatMul", weights, values)
        out = body.op("Reshape", body.op("Transpose", out, perm=[0, 2, 1, 3]), body.ints([0, 0, len(heads) * v]))
        parts = body.split(out, [runs[index][1] * v for index in mine])
        results.update(zip(mine, parts, strict=True))
    result = body.op("Identity", body.concat([results[index] for index in range(len(runs))]))
    result.name = "out"
    graph = ir.Graph([qkv, *given.values()], [result], nodes=body.nodes, opset_imports={"": opset}, name=NAME)
    kinds = (ir.AttributeType.INTS, ir.AttributeType.INTS, ir.AttributeType.FLOAT)
    attributes = [ir.Attr(name, kind, None) for name, kind in zip(ATTRIBUTES, kinds, strict=True)]
    return ir.Function(DOMAIN, function_name(layout, present), graph=graph, attributes=attributes)


def add_functions(program: ir.Model) -> None:
    """Gives every `RaggedAttention` node of the program its function, in place."""
    for node in program.graph.all_nodes():
        if (node.domain, node.op_type) != (DOMAIN, NAME):
            continue
        qk_dims, v_dims = (tuple(node.attributes[name].as_ints()) for name in ATTRIBUTES[:2])
        layout = HeadLayout(qk_dims, v_dims, node.attributes["scale"].as_float())
        present = [index < len(node.inputs) and node.inputs[index] is not None for index in range(1, len(INPUTS))]
        values = [value for value in node.inputs if value is not None]
        node.resize_inputs(len(values))  # TensorRT wants as many as the function has, so none may be empty
        for index, value in enumerate(values):
            node.replace_input_with(index, value)
        node.op_type = function_name(layout, present)
        identifier = (DOMAIN, node.op_type, "")
        if identifier not in program.functions:
            program.functions[identifier] = ragged_attention_function(layout, present, program.opset_imports[""])
        program.opset_imports[DOMAIN] = VERSION


def without_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model for a runtime with the plugin: plain `RaggedAttention` nodes, none of our functions.

    A parser of TensorRT takes a function of the model before a plugin, so the functions have to go. Raises
    `KernelError` for a node with more inputs than the plugin has.
    """
    from onnx import ModelProto, helper

    copy = ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        if node.domain == DOMAIN and node.op_type.startswith(NAME):
            if len(node.input) > 1:
                raise KernelError(
                    f"{node.name or node.op_type} has {len(node.input)} inputs, but the TensorRT plugin takes the "
                    "packed projection only: export the model without kernels"
                )
            node.op_type = NAME
            node.attribute.append(helper.make_attribute("plugin_namespace", DOMAIN))
            node.attribute.append(helper.make_attribute("plugin_version", str(VERSION)))
    others = [function for function in copy.functions if function.domain != DOMAIN]
    del copy.functions[:]
    copy.functions.extend(others)
    return copy


def _runs(layout: HeadLayout) -> list[tuple[tuple[int, int], int]]:
    """The pairs of widths in the heads' order, each with how many heads in a row have it."""
    return [(pair, len(list(run))) for pair, run in groupby(zip(layout.qk_dims, layout.v_dims, strict=True))]


class _Body:
    """Nodes in the making, with the few combinations of operators that the function repeats."""

    def __init__(self) -> None:
        import onnx_ir as ir

        self._tape = ir.tape.Tape()

    @property
    def nodes(self) -> Sequence[ir.Node]:
        return self._tape.nodes

    def op(self, name: str, *inputs: ir.Value, **attributes: int | list[int]) -> ir.Value:
        """The one output of an operator."""
        return self._tape.op(name, inputs, attributes=attributes)

    def constant(self, array: np.generic | np.ndarray) -> ir.Value:
        import onnx_ir as ir

        return self._tape.op("Constant", [], attributes={"value": ir.tensor(np.asarray(array))})

    def ints(self, values: Sequence[int]) -> ir.Value:
        return self.constant(np.asarray(values, np.int64))

    def split(self, x: ir.Value, sizes: Sequence[int]) -> Sequence[ir.Value]:
        """The pieces of the last dimension of `x` `[B, N, .]`; `x` itself where there is one."""
        if len(sizes) == 1:
            return [x]
        return self._tape.op_multi_out("Split", [x, self.ints(sizes)], attributes={"axis": 2}, num_outputs=len(sizes))

    def concat(self, parts: Sequence[ir.Value]) -> ir.Value:
        return parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=2)

    def heads(self, x: ir.Value, count: int, width: int, transposed: bool) -> ir.Value:
        """`[B, N, count * width]` as `[B, count, N, width]`, or `[B, count, width, N]` for keys."""
        apart = self.op("Reshape", x, self.ints([0, 0, count, width]))
        return self.op("Transpose", apart, perm=[0, 2, 3, 1] if transposed else [0, 2, 1, 3])

    def of_heads(self, bias: ir.Value, heads: list[int]) -> ir.Value:
        """The rows of a bias `[1 or heads, N, N]` that belong to these heads."""
        count = self.op("Shape", bias, start=0, end=1)
        return self.op("Gather", bias, self.op("Mod", self.ints(heads), count))

    def of_batch(self, mask: ir.Value, qkv: ir.Value) -> ir.Value:
        """`[B, N, N]`: mask `b % M` for each sequence `b`, of masks `[M, N, N]`."""
        batch, masks = (self.op("Squeeze", self.op("Shape", x, start=0, end=1)) for x in (qkv, mask))
        zero, one = (self.constant(np.int64(n)) for n in (0, 1))
        return self.op("Gather", mask, self.op("Mod", self.op("Range", zero, batch, one), masks))
