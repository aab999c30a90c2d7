"""What is put right in a graph between the exporter and the file."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from string import ascii_lowercase
from typing import TYPE_CHECKING

import torch

from secateur.core.errors import ExportError

if TYPE_CHECKING:
    import onnx_ir as ir


def follow_batch(program: ir.Model, name: str, batched: Sequence[bool] = (True,)) -> None:
    """Names the dynamic dimension `batch` and raises `ExportError` where an output does not follow it.

    `batched` says which of the inputs have it. Inputs that never meet sample by sample, as the texts and pictures of
    CLIP, have a dynamic dimension each, and one name: they have as many samples.
    """
    import onnx_ir as ir

    inputs = [value for value, has in zip(program.graph.inputs, batched, strict=True) if has]
    firsts = [value.shape[0] for value in inputs]  # type: ignore[index]  # an exported input always has a shape
    symbols = {first for first in firsts if isinstance(first, ir.SymbolicDim)}
    for value in (*inputs, *program.graph.outputs):
        first = value.shape[0] if value.shape is not None and len(value.shape) else None
        if first not in symbols:
            shape = "no dimensions" if not value.shape else f"the shape {value.shape}"
            raise ExportError(
                f"{value.name!r} has {shape}, which does not follow the batch of the input, so {name} was not "
                "written: the first dimension of every output must be the batch"
            )
    word = re.compile(rf"\b({'|'.join(re.escape(str(symbol)) for symbol in symbols)})\b")
    for value in _values(program):
        for index, size in enumerate(value.shape or ()):
            if isinstance(size, ir.SymbolicDim) and size.value is not None:
                value.shape[index] = word.sub("batch", size.value)  # type: ignore[index]  # enumerated, so not None


def adopt_constants(program: ir.Model) -> None:
    """Makes every constant that a node reads a weight of the graph, under a name of its own.

    Where several clamps read one value, the exporter's optimiser names the bounds of all of them alike, and all but
    the last are left outside of the graph: an invalid one.
    """
    weights = program.graph.initializers
    inputs = set(program.graph.inputs)
    for node in program.graph.all_nodes():
        for value in node.inputs:
            if value is None or value.const_value is None or value.producer() is not None or value in inputs:
                continue
            if weights.get(str(value.name)) is value:
                continue
            value.name = next(f"{value.name}.{number}" for number in count() if f"{value.name}.{number}" not in weights)
            program.graph.register_initializer(value)


def plain_einsums(program: ir.Model) -> None:
    """Writes the equations of einsums in small letters without blanks, the only ones that TensorRT reads.

    The letters keep their order, which decides that of the result where an equation has no arrow.
    """
    import onnx_ir as ir

    for node in program.graph.all_nodes():
        if node.op_type == "Einsum":
            equation = node.attributes["equation"].as_string().replace(" ", "")
            letters = sorted({*filter(str.isalpha, equation)})
            if len(letters) <= len(ascii_lowercase):
                small = str.maketrans(dict(zip(letters, ascii_lowercase, strict=False)))
                node.attributes["equation"] = ir.AttrString("equation", equation.translate(small))


def _values(program: ir.Model) -> Iterator[ir.Value]:
    yield from program.graph.inputs
    for node in program.graph.all_nodes():
        yield from node.outputs


def tidy(program: ir.Model, metadata: Mapping[str, str]) -> None:
    """Leaves of the exporter's notes only each node's module, and writes ours.

    The exporter notes stack traces with the paths of this machine: they would leak, and make equal models differ.
    """
    from secateur.core.version import __version__

    graph = program.graph
    graph.name = "secateur"
    for value in (*_values(program), *graph.initializers.values()):
        value.metadata_props.clear()
    for node in graph.all_nodes():
        scopes = node.metadata_props.get("pkg.torch.onnx.name_scopes")
        node.metadata_props.clear()
        module = _module(scopes) if scopes else ""
        if module:
            node.metadata_props["module"] = module
    for value in list(graph.initializers.values()):
        if value.name and value.name.startswith("model."):
            value.name = value.name.removeprefix("model.")
    graph.metadata_props.clear()
    program.metadata_props.clear()
    ours = {"version": __version__, "torch": torch.__version__, **metadata}
    program.metadata_props.update({f"secateur.{key}": value for key, value in sorted(ours.items())})


def _module(scopes: str) -> str:
    """The dotted name of the innermost module in the exporter's list of scopes (the last one is the operation)."""
    names = ast.literal_eval(scopes)
    inner = str(names[-2]) if len(names) > 1 else ""
    return inner.removeprefix("model.") if inner.startswith("model.") else ""
