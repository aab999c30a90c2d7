"""What the nodes of an ONNX graph cost at a batch: MACs and bytes, and the layer of the model that each belongs to."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from secateur.benchmarks.layers.alone import Alone, alone_of
from secateur.benchmarks.mac_handlers import einsum_macs
from secateur.export.graph_types import read_graph
from secateur.export.quantize.placement import PRODUCTS
from secateur.export.quantize.product_macs import node_macs

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

WHOLE = "(model)"
"""The layer of what the model's own forward does, outside of any of its modules."""

VIEWS = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Shape", "Size"})
"""Operations that read and write no values: their results are others' memory."""

UNCOUNTED = frozenset({"Attention", "RaggedAttention", "LSTM", "GRU", "RNN", "DeformConv", "DFT"})
"""Operations that have MACs which are not counted on a graph."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Node:
    """One operation of the graph as it was exported: the tensors that it reads and writes are named, with their bytes.

    `macs` is None where it has some that are not known. `product` is what a product by a weight is, alone.
    """

    name: str
    kind: str
    layer: str
    macs: int | None
    reads: Mapping[str, int]
    writes: Mapping[str, int]
    product: Alone | None = None


@dataclass(frozen=True)
class GraphWork:
    """The nodes of a graph by their first output, in its order; `unsized` are tensors whose size is not known."""

    nodes: Mapping[str, Node]
    outputs: frozenset[str]
    unsized: frozenset[str] = frozenset()

    @cached_property
    def maker(self) -> Mapping[str, str]:
        """For each tensor that a node writes the key of that node."""
        return {tensor: key for key, node in self.nodes.items() for tensor in node.writes}

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        """The bytes of each tensor."""
        return {
            tensor: size for node in self.nodes.values() for tensor, size in (*node.reads.items(), *node.writes.items())
        }

    @cached_property
    def named(self) -> Mapping[str, str]:
        """The key of each node by its name."""
        return {node.name: key for key, node in self.nodes.items()}

    @cached_property
    def readers(self) -> Mapping[str, frozenset[str]]:
        """For each tensor the keys of the nodes that read it."""
        found: dict[str, set[str]] = {}
        for key, node in self.nodes.items():
            for tensor in node.reads:
                found.setdefault(tensor, set()).add(key)
        return {tensor: frozenset(keys) for tensor, keys in found.items()}

    def macs_of(self, keys: Iterable[str]) -> int:
        """The MACs of these nodes, as far as they are known."""
        return sum(self.nodes[key].macs or 0 for key in keys)

    def bytes_of(self, keys: Collection[str]) -> int:
        """What one kernel that runs all of these nodes has to read and write: what passes between them stays inside."""
        members = set(keys)
        working = [self.nodes[key] for key in members if self.nodes[key].kind not in VIEWS]
        made = {tensor for key in members for tensor in self.nodes[key].writes}
        reads = {tensor: size for node in working for tensor, size in node.reads.items() if tensor not in made}
        leave = {tensor for tensor in made if tensor in self.outputs or self.readers.get(tensor, frozenset()) - members}
        writes = {tensor: size for node in working for tensor, size in node.writes.items() if tensor in leave}
        return sum(reads.values()) + sum(writes.values())

    def layers_of(self, keys: Collection[str]) -> tuple[str, ...]:
        """The layers of these nodes: the one with the most MACs first, then in the order of the graph."""
        layers = dict.fromkeys(self.nodes[key].layer for key in self.nodes if key in set(keys))
        work = {layer: self.macs_of(key for key in keys if self.nodes[key].layer == layer) for layer in layers}
        return tuple(sorted(layers, key=lambda layer: -work[layer]))  # stable: of equals the first of the graph

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence where MACs or bytes are not known in full."""
        unknown = [node for node in self.nodes.values() if node.macs is None or not _sized(node, self.unsized)]
        if not unknown:
            return ()
        layers = ", ".join(dict.fromkeys(node.layer for node in unknown))
        return (f"MACs and bytes are a lower bound in {layers}: the graph does not say the sizes of all operations",)


def graph_work(path: Path, batch: int) -> GraphWork:
    """The work of the graph at `path` for `batch` samples; raises `ExportError` for a file that is no graph."""
    import onnx_ir as ir

    program = ir.from_proto(sized_graph(read_graph(path), batch))
    nodes = [node for node in program.graph if node.op_type != "Constant"]
    values = {str(value.name): value for node in nodes for value in (*node.inputs, *node.outputs) if value is not None}
    sizes = {name: size for name, value in values.items() if (size := shape_of(value)) is not None}
    nbytes = {name: round(prod(size) * values[name].dtype.itemsize) for name, size in sizes.items()}  # type: ignore[union-attr]  # what has a shape has a type
    layers = _layers(nodes)
    found = {
        str(node.outputs[0].name): Node(
            str(node.name or node.outputs[0].name),
            node.op_type,
            layers[id(node)],
            _macs(node, sizes),
            _sizes(node.inputs, nbytes),
            _sizes(node.outputs, nbytes),
            _product(node, sizes),
        )
        for node in nodes
    }
    outputs = frozenset(str(value.name) for value in program.graph.outputs)
    return GraphWork(found, outputs, frozenset(values.keys() - sizes.keys()))


def sized_graph(graph: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """The graph with `batch` for its dynamic dimension, and the shapes that follow from it at all tensors."""
    import onnx

    for value in (*graph.graph.input, *graph.graph.value_info, *graph.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.HasField("dim_param"):
                times = re.fullmatch(r"(?:(\d+)\*)?batch", dim.dim_param.replace(" ", ""))
                dim.Clear()
                if times:
                    dim.dim_value = int(times[1] or 1) * batch
    return onnx.shape_inference.infer_shapes(graph, data_prop=True)


def shape_of(value: ir.Value) -> Shape | None:
    """The sizes of a tensor, or None where one of them is not known."""
    found = value.const_value.shape if value.const_value is not None else value.shape
    if found is None or value.dtype is None:
        return None
    sizes = tuple(size for size in found if isinstance(size, int))
    return sizes if len(sizes) == len(found) else None


def weight_of(node: ir.Node) -> ir.Value | None:
    """The weight that a product multiplies by, through what types and rounds it; None for one of two activations."""
    value = node.inputs[1] if node.op_type in (*PRODUCTS, "ConvTranspose") else None
    while value is not None and value.const_value is None:
        maker = value.producer()
        value = maker.inputs[0] if maker is not None and maker.op_type in CONVERTS else None
    return value


CONVERTS = frozenset({"Cast", "QuantizeLinear", "DequantizeLinear", "Transpose"})
"""What may stand between a weight and the product that reads it."""


def _layers(nodes: Sequence[ir.Node]) -> dict[int, str]:
    """The layer of each node, by its identity.

    Of a product it is the owner of its weight, for a folded normalisation leaves its own name on the convolution before
    it. What the exporter leaves without a module lies in the innermost one that holds all that it reads and is read by;
    what reads weights alone, as their dequantisation, in that of its readers.
    """
    known = {id(node): _owner(node) or node.metadata_props.get("module", "") for node in nodes}
    for node in nodes:
        if known[id(node)]:
            continue
        before = [maker for value in node.inputs if value is not None and (maker := value.producer()) is not None]
        after = [use.node for value in node.outputs for use in value.uses()]
        around = [[known.get(id(other), "").split(".") for other in side] for side in (before, after)]
        if all(around) or (after and all(value is None or value.is_initializer() for value in node.inputs)):
            steps = zip(*(path for side in around for path in side), strict=False)
            known[id(node)] = ".".join(step[0] for step in takewhile(lambda names: len({*names}) == 1, steps))
    return {key: layer or WHOLE for key, layer in known.items()}


def _owner(node: ir.Node) -> str:
    """The module whose weight a product reads, where the weight has kept its name."""
    weight = weight_of(node)
    found = re.match(r"(.+)\.weight", str(weight.name)) if weight is not None else None
    return found[1] if found else ""


def _macs(node: ir.Node, shapes: Mapping[str, Shape]) -> int | None:
    if node.op_type in UNCOUNTED:
        return None
    if node.op_type not in (*PRODUCTS, "ConvTranspose", "Einsum"):
        return 0
    names = [str(value.name) for value in (*node.inputs, *node.outputs) if value is not None]
    if any(name not in shapes for name in names):
        return None
    if node.op_type == "ConvTranspose":
        return prod(shapes[names[0]]) * prod(shapes[names[1]][1:])
    if node.op_type == "Einsum":
        return einsum_macs(node.attributes["equation"].as_string(), [shapes[name] for name in names[:-1]])
    return round(node_macs(node, shapes))


def _product(node: ir.Node, shapes: Mapping[str, Shape]) -> Alone | None:
    """The layer that a product by a weight is, alone; None where it is another one."""
    weight = weight_of(node)
    if weight is None or weight.const_value is None:
        return None
    taken, multiplied = (shapes.get(str(value.name)) for value in node.inputs[:2] if value is not None)
    return alone_of(node, taken, multiplied) if taken and multiplied else None


def _sizes(values: Iterable[ir.Value | None], nbytes: Mapping[str, int]) -> dict[str, int]:
    return {str(value.name): nbytes.get(str(value.name), 0) for value in values if value is not None}


def _sized(node: Node, unsized: frozenset[str]) -> bool:
    return node.kind in VIEWS or not unsized.intersection((*node.reads, *node.writes))
