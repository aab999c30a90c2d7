"""Which nodes of a float32 graph fp16 cannot hold on calibration images: what overflows, and what vanishes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from secateur.export.half.reasons import (
    DIGITS,
    ENDS,
    LARGEST,
    SMALLEST,
    TINY,
    VIEWS,
    divided_by,
    divides,
    fragile_nodes,
)
from secateur.export.quantize.observe import observed

if TYPE_CHECKING:
    import onnx_ir as ir

MARGIN = 2.0
"""How much farther the values of other images may reach than those of the calibration images."""

_PRODUCTS = ("MatMul", "Gemm", "Conv", "ConvTranspose")
_SUMS = ("ReduceSum", "ReduceMean")


@dataclass(frozen=True)
class _Probe:
    """What one added output says about a node: the `largest` output, the `sum` of magnitudes, the least `divisor`."""

    node: str
    word: str


def float32_nodes(
    program: ir.Model, precision: str, images: Iterable[Mapping[str, NDArray[Any]]] = ()
) -> dict[str, str]:
    """The nodes of a float32 program that are to stay so when the rest is in `precision`, each with its reason.

    bf16 has the range of float32, and only too few digits for some. Without `images` those alone are found that the
    graph itself shows.
    """
    if precision == "bf16":
        return {str(node.name): DIGITS[node.op_type] for node in program.graph if node.op_type in DIGITS}
    return {**overflowing_nodes(program, images), **fragile_nodes(program)}


def overflowing_nodes(program: ir.Model, images: Iterable[Mapping[str, NDArray[Any]]]) -> dict[str, str]:
    """The nodes to keep in float32 by their names, each with its reason, from what the `images` (feeds) reach.

    A value that reaches half of fp16's range keeps the node that makes it, and those that read it; so do values that
    are all below fp16's smallest normal number, and divisors one of which is. A product or a sum is kept where the
    magnitudes that it adds come to more than fp16 holds: a partial sum may then overflow in any order, where the
    target sums in fp16. TensorRT makes of such a product, between two casts, one in fp16 that sums in float32.
    """
    probed = program.clone()
    probes = _add_probes(probed)
    seen: dict[_Probe, float] = {}
    for arrays in observed(probed, probes, images):
        for name, array in arrays.items():
            probe, value = probes[name], float(array)
            pick = min if probe.word == "divisor" else max
            seen[probe] = pick(seen.get(probe, value), value)
    return _judged(program, seen)


def _judged(program: ir.Model, seen: Mapping[_Probe, float]) -> dict[str, str]:
    found: dict[str, str] = {}
    reach: dict[ir.Value, float] = {}
    for node in program.graph:
        name, source = str(node.name), node.inputs[0] if node.inputs else None
        largest = reach.get(source) if node.op_type in VIEWS and source else seen.get(_Probe(name, "largest"))
        if largest is not None:
            reach.update(dict.fromkeys(node.outputs, largest))
        for value in node.inputs:
            if value is not None and (why := _outside(reach.get(value))):
                found.setdefault(name, f"it reads {value.name}, which {why}")
        if node.op_type not in VIEWS and (why := _outside(largest)):
            found[name] = f"its output {why}"
        total = seen.get(_Probe(name, "sum"), 0.0)
        if total > LARGEST:
            found.setdefault(name, f"the magnitudes that it adds come to {total:.3g}, {ENDS}")
        least = seen.get(_Probe(name, "divisor"))
        if least is not None and least < SMALLEST:
            found.setdefault(name, f"it divides by, or takes the root of, {least:.3g}, {TINY}")
            if (maker := _maker(node)) is not None:
                found.setdefault(str(maker.name), f"its output is as small as {least:.3g}, {TINY}")
                found.update((one, reason) for one, reason in divided_by(maker) if one not in found)
    return found


def _maker(node: ir.Node) -> ir.Node | None:
    """The node that makes what a node divides by, or takes the root of, through what only changes its shape."""
    value = next(value for place, value in enumerate(node.inputs) if divides(node, place))
    maker = value.producer() if value is not None else None
    while maker is not None and maker.op_type in VIEWS and maker.inputs[0] is not None:
        maker = maker.inputs[0].producer()
    return maker


def _outside(largest: float | None) -> str:
    """Why values of this magnitude need float32, as the end of a sentence; empty where they do not."""
    if largest is None or largest == 0:
        return ""
    if not largest * MARGIN <= LARGEST:
        return f"reaches {largest:.3g}, {ENDS}"
    return f"is {largest:.3g} at most, {TINY}" if largest < SMALLEST else ""


def _add_probes(program: ir.Model) -> dict[str, _Probe]:
    """Adds what is to be measured to the graph, each a scalar; returns them by the names of their values."""
    import onnx_ir as ir

    found: dict[str, _Probe] = {}
    for node in list(program.graph):
        name = str(node.name)
        for word, value, reduction in _wanted(node):
            steps = [ir.node("Abs", [value])]
            steps.append(ir.node(reduction, [steps[0].outputs[0]], {"keepdims": 0}))
            if word == "sum":
                steps = [*_magnitudes(node), ir.node("ReduceMax", [], {"keepdims": 0})]
                steps[-1].resize_inputs(1)
                steps[-1].replace_input_with(0, steps[-2].outputs[0])
            last = steps[-1].outputs[0]
            last.name, last.type, last.shape = f"{name}.{word}", ir.TensorType(ir.DataType.FLOAT), ir.Shape([])
            program.graph.insert_after(node, steps)
            found[str(last.name)] = _Probe(name, word)
    return found


def _wanted(node: ir.Node) -> Iterator[tuple[str, ir.Value, str]]:
    """What is measured about a node: the word of the probe, a value, and what is taken of its magnitudes."""
    import onnx_ir as ir

    output = node.outputs[0]
    if output.dtype != ir.DataType.FLOAT:
        return
    if node.op_type not in VIEWS:
        yield "largest", output, "ReduceMax"
    if node.op_type in (*_PRODUCTS, *_SUMS):
        yield "sum", output, "ReduceMax"
    for place, value in enumerate(node.inputs):
        if value is not None and value.const_value is None and divides(node, place):
            yield "divisor", value, "ReduceMin"


def _magnitudes(node: ir.Node) -> list[ir.Node]:
    """Nodes whose last one gives the sums of magnitudes that a product or a sum adds."""
    import onnx_ir as ir

    factors = node.inputs[:2] if node.op_type in _PRODUCTS else node.inputs[:1]
    steps = [ir.node("Abs", [value]) for value in factors if value is not None]
    inputs = [step.outputs[0] for step in steps]
    axes = [value for value in node.inputs[1:] if node.op_type in _SUMS]
    kind = "ReduceSum" if node.op_type in _SUMS else node.op_type
    return [*steps, ir.Node("", kind, [*inputs, *axes], list(node.attributes.values()), num_outputs=1)]
