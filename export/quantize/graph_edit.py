"""Graphs that are changed: read with all sizes, and constants read, added and replaced."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx_ir as ir


def read_program(path: Path) -> ir.Model:
    """The graph at `path`, with the sizes of its tensors as far as they follow from those of its inputs."""
    import onnx_ir as ir
    import onnx_ir.passes.common as passes

    program = ir.load(path)
    passes.ShapeInferencePass(data_prop=True)(program)
    return program


def array_of(value: ir.Value | None) -> NDArray[Any]:
    """The content of a constant of the program."""
    if value is None or value.const_value is None:
        raise TypeError(f"{value} is no constant")
    return np.asarray(value.const_value.numpy())


def add_constant(graph: ir.Graph, name: str, array: NDArray[Any], element: ir.DataType | None = None) -> ir.Value:
    """A new constant of the graph; where the name is taken, it gets a number."""
    import onnx_ir as ir

    taken = graph.initializers
    free = name if name not in taken else next(f"{name}.{n}" for n in count(1) if f"{name}.{n}" not in taken)
    tensor = ir.tensor(np.asarray(array, order="C"), dtype=element, name=free)
    value = ir.Value(name=free, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def replace_weight(node: ir.Node, place: int, array: NDArray[Any], word: str) -> None:
    """Puts a constant `<name>.<word>` in the place of a node's input; who else reads the old one still does."""
    old, graph = node.inputs[place], node.graph
    if old is None or graph is None:
        raise TypeError(f"{node.name} has no constant at {place}")
    node.replace_input_with(place, add_constant(graph, f"{old.name}.{word}", array.astype(array_of(old).dtype)))


def bias_of(node: ir.Node) -> tuple[ir.Node, int] | None:
    """Where a product's bias is, or may be put: the node and the place of its input. None where there is no place.

    It is the third input of `Conv` and `Gemm`; of `MatMul` the constant of the sum behind, one for each channel.
    """
    if node.op_type in ("Conv", "Gemm"):
        return (node, 2) if len(node.inputs) < 3 or node.inputs[2] is None or _is_bias(node, 2) else None
    uses = node.outputs[0].uses()
    if len(uses) != 1 or node.outputs[0].is_graph_output():
        return None
    ((adds, place),) = uses
    return (adds, 1 - place) if adds.op_type == "Add" and _is_bias(adds, 1 - place) else None


def add_to_bias(node: ir.Node, shift: NDArray[Any]) -> bool:
    """Adds a shift `[channels]` to a product's bias, in it or in the sum behind it; False where there is none."""
    if (found := bias_of(node)) is None:
        return False
    (holder, place), graph = found, node.graph
    if graph is None:
        raise TypeError(f"{node.name} is in no graph")
    shift = shift.astype(np.float32)
    if len(holder.inputs) > place and holder.inputs[place] is not None:
        if array_of(holder.inputs[place]).shape != shift.shape:
            return False
        replace_weight(holder, place, array_of(holder.inputs[place]) + shift, "shifted")
    else:
        holder.resize_inputs(place + 1)
        holder.replace_input_with(place, add_constant(graph, f"{node.name}.bias", shift))
    return True


def _is_bias(node: ir.Node, place: int) -> bool:
    """Whether an input is a constant with one number for each channel."""
    value = node.inputs[place]
    return value is not None and value.const_value is not None and len(array_of(value).shape) == 1


def drop_unused(program: ir.Model) -> None:
    """Removes nodes and constants that nothing reads."""
    import onnx_ir.passes.common as passes

    passes.RemoveUnusedNodesPass()(program)
