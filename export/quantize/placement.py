"""Where a graph is quantised: which operands of which products, and why the others stay as they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from math import prod
from typing import TYPE_CHECKING

from secateur.core.errors import ExportError

if TYPE_CHECKING:
    import onnx_ir as ir

NARROWEST = 16
"""Products that sum over fewer values, or give fewer, gain nothing from 8 bits: kernels take 16 at a time."""

PRODUCTS = ("Conv", "Gemm", "MatMul")
"""The operations that are quantised; all others keep their type."""

OTHERS = ("ConvTranspose", "Einsum", "Attention")
"""Products whose kernels in 8 bits not every runtime has."""

LARGEST_FP8 = 32
"""TensorRT has no fp8 kernels for convolutions over more places, such as 7 x 7, nor for those of groups (its release
notes, under limitations).
"""

ENDS = "it is the first or the last product, whose rounding costs the most"


@dataclass(frozen=True)
class Product:
    """A product that runs in 8 bits: `node`, the activations that go into it, and its `weight` if it has one.

    `axis` is that of the weight's output channels, which have a scale each. All are names of the graph.
    """

    node: str
    activations: tuple[str, ...]
    weight: str = ""
    axis: int = 0


@dataclass(frozen=True)
class Placement:
    """What is quantised in a graph, and for every other product by its name the reason why it is not.

    `skips` are the tensors that are added to the output of a convolution, with the node that adds: the sum is fused
    into the convolution where they have 8 bits too. `outputs` are tensors that everything reads through 8 bits, since
    the runtime's convolutions in 8 bits give such ones only. `fixed` are the activations whose largest value is known:
    what softmax gives ends at 1.
    """

    products: tuple[Product, ...]
    skips: Mapping[str, str]
    fixed: Mapping[str, float]
    kept: Mapping[str, str]
    outputs: tuple[str, ...] = ()

    @property
    def activations(self) -> tuple[str, ...]:
        """Every activation that is quantised, each once: all its readers in 8 bits share one scale."""
        names = [name for product in self.products for name in product.activations]
        return tuple(dict.fromkeys((*names, *self.skips.values(), *self.outputs)))

    def without(self, program: ir.Model, wide: Mapping[str, str]) -> Placement:
        """The placement with the products `wide` of the program kept as they are too, for the reasons given."""
        rest = tuple(product for product in self.products if product.node not in wide)
        nodes = list(program.graph)
        skips = _skips(nodes, {product.node for product in rest})
        inner = {name for product in rest for name in product.activations}
        fixed = {name: most for name, most in self.fixed.items() if name in inner}
        return Placement(rest, skips, fixed, {**self.kept, **wide}, _outputs(nodes, rest) if self.outputs else ())


def place(
    program: ir.Model,
    keep: Iterable[str] = (),
    ends: bool = False,
    precision: str = "int8",
    runtime: str = "tensorrt",
) -> Placement:
    """Which operands of the program's products are quantised to a precision (`int8`, `fp8`).

    That is every product of a weight and an activation, and of two activations (both products of attention), right
    before the product: behind the scale and the transpositions that TensorRT folds into it. Nothing else is: what
    LayerNorm, softmax and activation functions read and write keeps its type. For the `runtime` ONNX Runtime, what
    convolutions in int8 give is quantised too, behind a ReLU, and so are sums of such tensors. `keep` are globs of
    modules (`blocks.0.*`) or nodes that stay as they are, and so do the first and the last product unless `ends`
    quantises these too. Raises `ExportError` for a graph that is quantised already, for a glob that fits nothing, and
    where nothing is left.
    """
    nodes = list(program.graph)
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear") for node in nodes):
        raise ExportError("the graph is quantised already: give the fp32 graph that it was made from")
    outer = set() if ends else _ends(nodes)
    globs = tuple(keep)
    found: list[Product] = []
    kept: dict[str, str] = {}
    for node in nodes:
        if node.op_type not in (*PRODUCTS, *OTHERS):
            continue
        name = str(node.name)
        asked = next((glob for glob in globs if any(fnmatch(word, glob) for word in (name, _module(node)))), None)
        product, why_not = _product(node, precision)
        if asked is not None:
            kept[name] = f"export.quantize.keep names it by {asked!r}"
        elif product is None:
            kept[name] = why_not
        elif name in outer:
            kept[name] = ENDS
        else:
            found.append(product)
    _check(nodes, globs, found, kept)
    names = {product.node for product in found}
    inner = {name for product in found for name in product.activations}
    fixed = {name: 1.0 for node in nodes if node.op_type == "Softmax" for name in (str(node.outputs[0].name),)}
    outputs = _outputs(nodes, found) if runtime == "onnxruntime" and precision == "int8" else ()
    fixed = {name: most for name, most in fixed.items() if name in inner}
    return Placement(tuple(found), _skips(nodes, names), fixed, kept, outputs)


def is_weight(value: ir.Value | None) -> bool:
    """Whether a value is a constant of the graph."""
    return value is not None and value.const_value is not None and value.producer() is None


def _product(node: ir.Node, precision: str) -> tuple[Product | None, str]:
    """The product that a node is in 8 bits; or None and why it stays."""
    left, right = node.inputs[0], node.inputs[1] if len(node.inputs) > 1 else None
    name = str(node.name)
    if node.op_type in OTHERS or left is None or right is None:
        return None, f"there are no kernels for {node.op_type} in 8 bits everywhere"
    if is_weight(left) or (node.op_type != "MatMul" and not is_weight(right)):
        return None, "its weight is not the second operand, so there is no scale for each output channel"
    if not is_weight(right):
        summed, gives = _size(right, -2), _size(right, -1)
        if summed is None or gives is None:
            return None, "its sizes are not known before it runs"
        narrow = _narrow(summed, gives)
        return (None, narrow) if narrow else (Product(name, (str(left.name), str(right.name))), "")
    shape = tuple(int(size) for size in right.shape or () if isinstance(size, int))
    if node.op_type == "MatMul" and len(shape) != 2:
        return None, f"its weight has {len(shape)} dimensions, not 2"
    axis = 1 if node.op_type == "MatMul" or (node.op_type == "Gemm" and not _attribute(node, "transB")) else 0
    if node.op_type == "Gemm" and _attribute(node, "transA"):
        return None, "it transposes its activation"
    groups = _attribute(node, "group", 1) if node.op_type == "Conv" else 1
    if precision == "fp8" and node.op_type == "Conv" and (groups > 1 or prod(shape[2:]) > LARGEST_FP8):
        what = f"{groups} groups" if groups > 1 else f"kernels of {prod(shape[2:])} places"
        return None, f"it has {what}, for which TensorRT has no kernels in fp8"
    depthwise = groups > 1 and shape[1] == 1
    narrow = "" if depthwise else _narrow(prod(shape) // shape[axis], shape[axis])
    return (None, narrow) if narrow else (Product(name, (str(left.name),), str(right.name), axis), "")


def _narrow(summed: int, gives: int) -> str:
    if min(summed, gives) >= NARROWEST:
        return ""
    return f"it sums over {summed} values and gives {gives}, but 8 bits pay from {NARROWEST} on"


def _ends(nodes: list[ir.Node]) -> set[str]:
    """The names of the products of weights that no other product goes before, or comes after."""
    behind: set[ir.Value] = set()  # values that a product has been through
    first, last = set(), {}
    for node in nodes:
        inputs = [value for value in node.inputs if value is not None]
        passed = any(value in behind for value in inputs)
        weighted = node.op_type in PRODUCTS and any(map(is_weight, inputs[1:2]))
        if weighted and not passed:
            first.add(str(node.name))
        if passed or weighted:
            behind.update(node.outputs)
    ahead: set[ir.Value] = set()  # values that a product of a weight still reads
    for node in reversed(nodes):
        weighted = node.op_type in PRODUCTS and any(map(is_weight, node.inputs[1:2]))
        if weighted and not any(value in ahead for value in node.outputs):
            last[str(node.name)] = True
        if weighted or any(value in ahead for value in node.outputs):
            ahead.update(value for value in node.inputs if value is not None)
    return first | set(last)


def _skips(nodes: list[ir.Node], quantised: set[str]) -> dict[str, str]:
    """For each sum of a quantised convolution's output and another tensor, by the node's name, that tensor."""
    order = {id(node): index for index, node in enumerate(nodes)}
    found = {}
    for node in nodes:
        if node.op_type != "Add" or len(node.inputs) != 2 or any(map(is_weight, node.inputs)):
            continue
        made = [(order.get(id(value.producer()), -1), value) for value in node.inputs if value is not None]
        if len(made) < 2 or made[0][1] is made[1][1]:
            continue
        (_, other), (_, last) = sorted(made, key=lambda pair: pair[0])
        maker = last.producer()
        if maker is not None and maker.op_type == "Conv" and str(maker.name) in quantised and len(last.uses()) == 1:
            found[str(node.name)] = str(other.name)
    return found


def _outputs(nodes: list[ir.Node], products: Iterable[Product]) -> tuple[str, ...]:
    """What quantised convolutions give, and sums of tensors that are quantised, behind the ReLU after them if any."""
    quantised = {product.node: product for product in products}
    eight = {name for product in quantised.values() for name in product.activations}
    found = []
    for node in nodes:
        inputs = [value for value in node.inputs if value is not None]
        sums = (
            node.op_type == "Add" and not any(map(is_weight, inputs)) and all(str(one.name) in eight for one in inputs)
        )
        if sums or (node.op_type == "Conv" and str(node.name) in quantised):
            value = _behind_relu(node.outputs[0])
            if value.uses():
                found.append(str(value.name))
                eight.add(str(value.name))
    return tuple(found)


def _behind_relu(value: ir.Value) -> ir.Value:
    """What a ReLU that alone reads a value makes of it (or a clipping from 0 on), or the value itself."""
    uses = list(value.uses())
    if len(uses) != 1 or value.is_graph_output():
        return value
    reader = uses[0].node
    least = reader.inputs[1] if reader.op_type == "Clip" and len(reader.inputs) > 1 else None
    clips = least is not None and least.const_value is not None and float(least.const_value.numpy()) == 0
    return reader.outputs[0] if reader.op_type == "Relu" or clips else value


def _check(nodes: list[ir.Node], globs: tuple[str, ...], found: list[Product], kept: Mapping[str, str]) -> None:
    words = {word for node in nodes if node.op_type in (*PRODUCTS, *OTHERS) for word in (str(node.name), _module(node))}
    for glob in globs:
        if not any(fnmatch(word, glob) for word in words):
            raise ExportError(
                f"export.quantize.keep has {glob!r}, which no product of the graph has for its name or its module, "
                f"such as {', '.join(sorted(words - {''})[:3])}: leave it out or correct it"
            )
    if not found:
        reasons = ", ".join(f"{name}: {reason}" for name, reason in list(kept.items())[:3])
        raise ExportError(f"no product of the graph can run in 8 bits ({reasons or 'it has none'}): export it wider")


def _module(node: ir.Node) -> str:
    return node.metadata_props.get("module", "")


def _attribute(node: ir.Node, name: str, default: int = 0) -> int:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def _size(value: ir.Value, axis: int) -> int | None:
    size = value.shape[axis] if value.shape is not None and len(value.shape) >= -axis else None
    return size if isinstance(size, int) else None
