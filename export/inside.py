"""Preprocessing inside the graph: uint8 pixels `[batch, H, W, C]` go in, as a decoded picture has them once cropped.

(x / 255 - mean) / std is x * a + b for each channel, with a = 1 / (255 std) and b = -mean / std. Where all that reads
the input are convolutions in float32, a goes into their weights, w' = w * a, and b into their biases, sum(w * b): that
is the same function, and no pass over the picture is left but the cast and the transposition. A convolution that pads
reads zeros beyond the border, which stand for pixels of the mean: there the mean is subtracted first and a alone goes
into the weights. In all other graphs (half precision, whose rounded weights and biases would not be those of the
graph; Q/DQ pairs, whose scales are for normalised values; patches that are taken by reshaping) a and b stay
operations in float32 before the first node, which runtimes fuse into the cast.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from secateur.core.errors import ExportError
from secateur.core.input_spec import InputSpec, TensorSpec
from secateur.export.graph_file import write_graph
from secateur.export.graph_types import declared_precisions, graph_precision, graph_tensors, read_graph
from secateur.export.parity import cosine, runnable
from secateur.export.preprocessing import NOTE, Preprocessing
from secateur.export.quantize.graph_edit import add_constant, add_to_bias, array_of, drop_unused, replace_weight

if TYPE_CHECKING:
    import onnx_ir as ir

Way = Literal["folded", "centred", "kept"]
"""How much of the normalisation the first convolutions took in: all of it, its scale, or nothing."""

WAYS: Mapping[Way, str] = {
    "folded": "the first convolution takes pixels as they are",
    "centred": "the mean is subtracted, and the first convolution, which pads, takes in the scale",
    "kept": "the graph normalises in float32 before its first node",
}

TOLERANCES = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 2e-2, "int8": 2e-2, "fp8": 2e-2}
"""How far outputs may move, as a fraction of their scale: values that round the other way, and not another function."""


def put_inside(source: Path, path: Path, preprocessing: Preprocessing, seed: int = 0) -> tuple[Way, str]:
    """Writes the graph at `source` to `path` with its preprocessing inside; `source` stays as it is.

    Returns how, and the name of the file of external weights as `write_graph` does. Both graphs are compared on seeded
    pictures. Raises `ExportError` for a graph that does not take one float32 image of that shape, and where the two
    differ; `MissingPackageError` without ONNX Runtime.
    """
    import onnx_ir as ir

    takes, _ = graph_tensors(read_graph(source))
    if [(tensor.dtype, tensor.shape[1:]) for tensor in takes] != [("float32", preprocessing.shape)]:
        raise ExportError(
            f"{source.name} takes {', '.join(map(str, takes))}, but preprocessing goes inside a graph that takes one "
            f"float32 image {list(preprocessing.shape)} alone: set export.preprocessing to outside"
        )
    program = ir.load(source)
    way = embed(program, preprocessing)
    external = write_graph(program, path)
    pixels = pictures(preprocessing, seed)
    remedy = "set export.preprocessing to outside"
    check_same(source, path, preprocessing.normalised(pixels), pixels, "its preprocessing inside", remedy)
    return way, external


def embed(program: ir.Model, preprocessing: Preprocessing) -> Way:
    """Puts the preprocessing into the program in place, and a note of it into its metadata."""
    import onnx_ir as ir

    graph, old = program.graph, program.graph.inputs[0]
    batch = None if old.shape is None else old.shape[0]
    channels, height, width = preprocessing.shape
    name = str(old.name)
    std = 255 * np.asarray(preprocessing.std, np.float64)
    mean = 255 * np.asarray(preprocessing.mean, np.float64)
    users = [(node, place) for node, place in old.uses() if node.op_type != "Shape"]
    way = _way(users)

    pixels = ir.Value(
        name=name, shape=ir.Shape([batch, height, width, channels]), type=ir.TensorType(ir.DataType.UINT8)
    )
    old.name = f"{name}.normalised"
    cast = ir.node("Cast", [pixels], {"to": ir.DataType.FLOAT.value}, name=f"{name}.cast")
    turn = ir.node("Transpose", [cast.outputs[0]], {"perm": [0, 3, 1, 2]}, name=f"{name}.transpose")
    nodes, steps = [cast, turn], {"folded": (), "centred": (("Sub", mean),), "kept": (("Sub", mean), ("Div", std))}
    for operation, numbers in steps[way]:
        word = operation.lower()
        constant = add_constant(graph, f"{name}.{word}", numbers.astype(np.float32).reshape(1, -1, 1, 1))
        nodes.append(ir.node(operation, [nodes[-1].outputs[0], constant], name=f"{name}.{word}_node"))
    for node in nodes:
        shape = [batch, height, width, channels] if node is cast else [batch, channels, height, width]
        output = node.outputs[0]
        output.name, output.shape, output.type = (
            f"{node.name}.output",
            ir.Shape(shape),
            ir.TensorType(ir.DataType.FLOAT),
        )
    for node, place in tuple(old.uses()):
        node.replace_input_with(place, nodes[-1].outputs[0])
    if way != "kept":
        for node in dict.fromkeys(node for node, _ in users):
            _fold(node, 1 / std, mean if way == "folded" else None)
    graph.inputs[0] = pixels
    graph.insert_before(next(iter(graph)), nodes)
    drop_unused(program)
    _note(program, preprocessing)
    return way


def take_planar(program: ir.Model) -> None:
    """Makes a program of `embed` take its pixels as float32 `[batch, C, H, W]`, still from 0 to 255, in place.

    The cast and the transposition are no longer in it. Raises `ExportError` where it does not begin with these two.
    """
    import onnx_ir as ir

    graph, pixels = program.graph, program.graph.inputs[0]
    users = [node for node, _ in pixels.uses()]
    after = [node for user in users for node, _ in user.outputs[0].uses()]
    if [node.op_type for node in (*users, *after)] != ["Cast", "Transpose"]:
        raise ExportError(
            f"{pixels.name} is not cast and transposed before all else, as where preprocessing is inside a graph: "
            "export it again"
        )
    turned = after[0].outputs[0]
    planar = ir.Value(name=pixels.name, shape=turned.shape, type=ir.TensorType(ir.DataType.FLOAT))
    for node, place in tuple(turned.uses()):
        node.replace_input_with(place, planar)
    graph.inputs[0] = planar
    graph.remove([after[0], users[0]], safe=True)
    inputs = InputSpec.shaped([size for size in (turned.shape or ())[1:] if isinstance(size, int)])
    program.metadata_props["secateur.inputs"] = json.dumps(inputs.to_json())


def rescale(program: ir.Model, factors: NDArray[np.float64]) -> None:
    """Makes the program take values that are to be multiplied by a factor for each channel: it does so itself.

    Convolutions in float32 take the factors into their weights, whatever they pad; else one multiplication goes first.
    """
    import onnx_ir as ir

    graph, old = program.graph, program.graph.inputs[0]
    users = [(node, place) for node, place in old.uses() if node.op_type != "Shape"]
    if _way(users) != "kept":
        for node in dict.fromkeys(node for node, _ in users):
            _fold(node, factors, None)
    else:
        name = f"{old.name}.factors"
        constant = add_constant(graph, name, factors.astype(np.float32).reshape(1, -1, 1, 1))
        product = ir.node("Mul", [old, constant], name=f"{name}.mul")
        product.outputs[0].name, product.outputs[0].shape = f"{name}.output", old.shape
        product.outputs[0].type = old.type
        for node, place in users:
            node.replace_input_with(place, product.outputs[0])
        graph.insert_before(next(iter(graph)), [product])
    drop_unused(program)


def _way(users: list[tuple[ir.Node, int]]) -> Way:
    import onnx_ir as ir

    for node, place in users:
        weight = node.inputs[1] if len(node.inputs) > 1 else None
        known = weight is not None and weight.const_value is not None and weight.dtype == ir.DataType.FLOAT
        if node.op_type != "Conv" or place != 0 or not known or not _bias_is_constant(node):
            return "kept"
    if not users:
        return "kept"
    return "centred" if any(_pads(node) for node, _ in users) else "folded"


def _bias_is_constant(node: ir.Node) -> bool:
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    return bias is None or bias.const_value is not None


def _pads(node: ir.Node) -> bool:
    """Whether a convolution reads beyond the border."""
    pads, auto = node.attributes.get("pads"), node.attributes.get("auto_pad")
    if auto is not None and auto.as_string() not in ("NOTSET", "VALID"):
        return True
    return pads is not None and any(pads.as_ints())


def _fold(node: ir.Node, scale: NDArray[np.float64], mean: NDArray[np.float64] | None) -> None:
    """Makes a convolution take pixels, less their `mean` where that is None, for normalised values."""
    weight = array_of(node.inputs[1]).astype(np.float64)  # [out, in / groups, ...]
    groups = len(scale) // weight.shape[1]
    channels = np.arange(len(scale)).reshape(groups, -1)[np.arange(len(weight)) // (len(weight) // groups)]
    scaled = weight * scale[channels].reshape(*channels.shape, *[1] * (weight.ndim - 2))
    replace_weight(node, 1, scaled, "scaled")
    if mean is not None:
        shift = (scaled * mean[channels].reshape(*channels.shape, *[1] * (weight.ndim - 2))).reshape(len(weight), -1)
        add_to_bias(node, -shift.sum(1))


def _note(program: ir.Model, preprocessing: Preprocessing) -> None:
    channels, height, width = preprocessing.shape
    inputs = InputSpec(TensorSpec((height, width, channels), "uint8", 0, 255))
    program.metadata_props.pop("secateur.input_shape", None)
    program.metadata_props["secateur.inputs"] = json.dumps(inputs.to_json())
    program.metadata_props[NOTE] = replace(preprocessing, inside=True).to_note()


def check_same(source: Path, path: Path, taken: NDArray[Any], given: NDArray[Any], what: str, remedy: str) -> None:
    """Raises `ExportError` where the graph at `path` makes something else of `given` than `source` of `taken`."""
    precision = graph_precision(declared_precisions(read_graph(source)))
    outside, inside = (runnable(place) for place in (source, path))
    name = outside.get_inputs()[0].name
    wanted, found = outside.run(None, {name: taken}), inside.run(None, {name: given})
    for output, left, right in zip(outside.get_outputs(), wanted, found, strict=True):
        scale = max(float(np.abs(left).max(initial=0.0)), float(np.finfo(np.float32).tiny))
        off = float(np.abs(left.astype(np.float64) - right).max(initial=0.0)) / scale
        if not off <= TOLERANCES[precision]:
            raise ExportError(
                f"with {what}, {path.name} gives another {output.name!r} (off by {off:.2g} of its scale, cosine "
                f"{cosine(left, right):.4f}): {remedy}"
            )


def pictures(preprocessing: Preprocessing, seed: int) -> NDArray[np.uint8]:
    """Two seeded pictures of noise, `[2, H, W, C]`."""
    channels, height, width = preprocessing.shape
    return np.random.default_rng(seed).integers(0, 256, (2, height, width, channels), dtype=np.uint8)
