"""Which nodes of a float32 graph fp16 cannot hold, and why: what the graph itself says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from secateur.export.quantize.graph_edit import array_of

if TYPE_CHECKING:
    import onnx_ir as ir

LARGEST = 65504.0
"""The largest number of fp16."""

SMALLEST = 2.0**-14
"""The smallest normal number of fp16, 6.1e-5; smaller ones lose digits, or become zero."""

TINY = f"below {SMALLEST:.2g}, fp16's smallest normal number"
ENDS = f"and fp16 ends at {LARGEST:.0f}"
VIEWS = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Split", "Slice", "Expand"})
"""Operations whose outputs hold values of their first input."""

_SCALES = ("Mul", "Div", "MatMul", "Gemm", "Conv", "ConvTranspose")
_MEANS = ("ReduceMean", "ReduceSum")
DIGITS = {"GridSample": "the places that it reads at need more digits than 16 bits have"}
"""Operations that no type of 16 bits serves, with the reason."""

_RULES = {
    "ReduceSumSquare": f"it sums squares, {ENDS}",
    "ReduceL2": f"it sums squares, {ENDS}",
    "CumSum": f"its sums grow with each value, {ENDS}",
    **DIGITS,
}


def fragile_nodes(program: ir.Model) -> dict[str, str]:
    """The nodes that are to stay in float32 whatever the images are, by their names, each with its reason.

    They read a constant that fp16 does not reach or that vanishes in it (the 1e-12 that keeps a variance from zero),
    divide by what such a constant guards, or sum squares. `LayerNormalization` sums in float32 by its definition.
    """
    found: dict[str, str] = {}
    for node in program.graph:
        why = _RULES.get(node.op_type, "") or _scatters(node) or _constants(node)
        guarded = dict(divided_by(node)) if TINY in why else {}
        if why and (guarded or node.op_type in _SCALES or TINY not in why):  # nothing is lost with it in a sum
            for name, reason in {str(node.name): why, **guarded}.items():
                found.setdefault(name, reason)
        square = node.inputs[0].producer() if node.op_type in _MEANS and node.inputs[0] is not None else None
        if square is not None and _squares(square):
            for one in (square, node):
                found.setdefault(str(one.name), _RULES["ReduceL2"])
    return found


def divided_by(node: ir.Node) -> Iterator[tuple[str, str]]:
    """The nodes from what `node` gives, a tiny value, to the product or the quotient with another tensor.

    They take its root, invert it and change its shape; each comes with the reason.
    """
    why = f"it takes the root of, or divides by, what {node.name} keeps above zero"
    seen, waiting = {node}, [(node, False)]  # with whether the value has become its inverse, a large one
    while waiting:
        maker, inverted = waiting.pop()
        for reader, place in (use for value in maker.outputs for use in value.uses()):
            alone = _alone(reader, place)
            if reader in seen or not (alone or divides(reader, place) or (inverted and reader.op_type == "Mul")):
                continue
            seen.add(reader)
            yield str(reader.name), why
            if alone:
                waiting.append((reader, inverted != _inverts(reader)))


def divides(reader: ir.Node, place: int) -> bool:
    """Whether a node makes more of the error of a tiny input: it divides by it, or takes its root or logarithm."""
    if reader.op_type == "Div":
        return place == 1
    return place == 0 and (reader.op_type in ("Sqrt", "Reciprocal", "Log") or _inverts(reader))


def _alone(reader: ir.Node, place: int) -> bool:
    """Whether a node hands on a tiny input, with no other tensor: as a view, a root or an inverse."""
    if reader.op_type == "Div" and place == 1:
        return reader.inputs[0] is not None and reader.inputs[0].const_value is not None
    return place == 0 and (reader.op_type in VIEWS or divides(reader, place))


def _inverts(node: ir.Node) -> bool:
    exponent = node.inputs[1] if node.op_type == "Pow" else None
    if exponent is not None and exponent.const_value is not None:
        return bool((array_of(exponent) < 0).all())
    return node.op_type in ("Reciprocal", "Div")


def _constants(node: ir.Node) -> str:
    """Why a constant that a node reads needs float32; float32's own limits stand for no limit."""
    for place, value in _weights(node.inputs):
        magnitudes = np.abs(array_of(value).astype(np.float64))
        magnitudes = magnitudes[magnitudes < np.finfo(np.float32).max]
        most = float(magnitudes.max(initial=0.0))
        if most > LARGEST:
            return f"its constant {value.name} holds {most:.3g}, {ENDS}"
        if 0 < most < SMALLEST and (place < 2 or node.op_type == "Clip"):  # the third input is a bias
            return f"its constant {value.name} is {most:.3g}, {TINY}"
    return ""


def _weights(values: Iterable[ir.Value | None]) -> Iterator[tuple[int, ir.Value]]:
    """The float32 constants among the values, with their places."""
    import onnx_ir as ir

    for place, value in enumerate(values):
        if value is not None and value.const_value is not None and value.dtype == ir.DataType.FLOAT:
            yield place, value


def _scatters(node: ir.Node) -> str:
    """Why a node that adds values to places of a tensor needs float32."""
    reduction = node.attributes.get("reduction")
    adds = node.op_type.startswith("Scatter") and reduction is not None and reduction.as_string() != "none"
    return "ONNX Runtime's CPU provider cannot combine fp16 values while it scatters them" if adds else ""


def _squares(node: ir.Node) -> bool:
    """Whether a node gives the square of its input."""
    if node.op_type == "Mul":
        return node.inputs[0] is node.inputs[1]
    exponent = node.inputs[1] if node.op_type == "Pow" else None
    return exponent is not None and exponent.const_value is not None and bool((array_of(exponent) == 2).all())
