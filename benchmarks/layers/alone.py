"""A model of one layer alone, for what can be measured of a layer without the others: as a module and as a graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from secateur.benchmarks.runners import Subject
from secateur.core.input_spec import InputSpec
from secateur.export.engines import build_engine
from secateur.export.targets import TypedTarget

if TYPE_CHECKING:
    import onnx_ir as ir

Shape = tuple[int, ...]
GRAPHS = ("fp32", "fp16")
"""The precisions in which a graph of one layer can be written."""


@dataclass(frozen=True)
class Alone:
    """One layer: a `Conv` or a `MatMul` by a weight, or a `Neg`, which reads and writes every value once.

    `shape` is that of one sample that goes in. A weight is `[out, in / groups, *kernel]` of a convolution, `[in, out]`
    of a product. `pads` has the beginnings of all dimensions, then the ends.
    """

    kind: Literal["Conv", "MatMul", "Neg"]
    shape: Shape
    weight: Shape = ()
    strides: Shape = ()
    pads: Shape = ()
    dilations: Shape = ()
    groups: int = 1

    @property
    def widths(self) -> tuple[int, int]:
        """The channels that go in and come out."""
        if self.kind == "Conv":
            return self.weight[1] * self.groups, self.weight[0]
        return self.weight[0], self.weight[1]

    @property
    def macs(self) -> int:
        """The MACs of one sample at the same places: what they are in proportion to is what counts."""
        return prod(self.weight) * (1 if self.kind == "Conv" else prod(self.shape[:-1]))

    def widened(self, taken: int, given: int) -> Alone:
        """The same layer with so many channels that go in and come out; one filter for each stays one for each."""
        if self.kind == "MatMul":
            return replace(self, shape=(*self.shape[:-1], taken), weight=(taken, given))
        depthwise = self.groups > 1 and self.weight[1] == 1
        groups = taken if depthwise else self.groups
        weight = (given, taken // groups, *self.weight[2:])
        return replace(self, shape=(taken, *self.shape[1:]), weight=weight, groups=groups)

    def subject(self, goal: TypedTarget, folder: Path) -> Subject:
        """The layer in the form that `goal` runs; graphs and engines go into `folder`."""
        inputs = InputSpec.shaped(self.shape)
        if goal.target.runtime == "torch":
            return Subject("one layer", self.module(), inputs=inputs)
        path = self.write(folder / f"{len(list(folder.iterdir()))}.onnx", goal.precision)
        if not goal.target.needs_build:
            graphs = {"onnx": path} if goal.precision == "fp32" else {}
            typed = {} if goal.precision == "fp32" else {goal.precision: path}
            return Subject("one layer", onnx=graphs.get("onnx"), typed_onnx=typed)
        engine = build_engine(path, goal.target, path.with_suffix("")).path
        return Subject("one layer", onnx=path, typed_onnx={goal.precision: path}, engines={str(goal): engine})

    def module(self) -> nn.Module:
        """As PyTorch has it, without a bias and with random weights."""
        if self.kind == "Neg":
            return _Neg()
        taken, given = self.widths
        if self.kind == "MatMul":
            return nn.Linear(taken, given, bias=False)
        half = len(self.pads) // 2
        kind: Any = nn.Conv2d if len(self.weight) == 4 else nn.Conv1d  # whose sizes are tuples of as many numbers
        layer: nn.Module = kind(
            taken, given, self.weight[2:], self.strides, self.pads[:half], self.dilations, self.groups, bias=False
        )
        return layer

    def write(self, path: Path, precision: str = "fp32") -> Path:
        """The layer as an ONNX graph at `path`, with a dynamic batch."""
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        numbers, kind = {"fp32": (np.float32, TensorProto.FLOAT), "fp16": (np.float16, TensorProto.FLOAT16)}[precision]
        rng = np.random.default_rng(0)
        weights = (
            [numpy_helper.from_array(rng.standard_normal(self.weight).astype(numbers), "weight")] if self.weight else []
        )
        attributes: dict[str, Any] = {}
        if self.kind == "Conv":
            attributes = {
                "kernel_shape": self.weight[2:],
                "strides": self.strides,
                "pads": self.pads,
                "dilations": self.dilations,
                "group": self.groups,
            }
        node = helper.make_node(
            self.kind, ["input", *(tensor.name for tensor in weights)], ["output"], "layer", **attributes
        )
        takes = helper.make_tensor_value_info("input", kind, ["batch", *self.shape])
        gives = helper.make_tensor_value_info("output", kind, ["batch", *(None for _ in self.shape)])
        graph = helper.make_graph([node], "secateur", [takes], [gives], weights)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
        return path


class _Neg(nn.Module):
    """Writes into memory that it keeps: new memory costs more than the copy."""

    kept: Tensor | None = None

    def forward(self, values: Tensor) -> Tensor:
        if self.kept is None or self.kept.shape != values.shape:
            self.kept = torch.empty_like(values)
        return torch.neg(values, out=self.kept)


def alone_of(node: ir.Node, taken: Sequence[int], weight: Sequence[int]) -> Alone | None:
    """The layer that a product of a graph is, by the shapes of what goes in and of its weight; None for other products.

    A weight that is transposed in the graph is written as it is multiplied.
    """

    def whole(name: str) -> int:
        return node.attributes[name].as_int() if name in node.attributes else 0

    def several(name: str, usual: int, count: int) -> Shape:
        found = tuple(node.attributes[name].as_ints()) if name in node.attributes else ()
        return found or (usual,) * count

    shape, sizes = tuple(taken[1:]), tuple(weight)
    if node.op_type == "Conv" and len(sizes) in (3, 4):
        places = len(sizes) - 2
        automatic = node.attributes["auto_pad"].as_string() if "auto_pad" in node.attributes else "NOTSET"
        if automatic != "NOTSET":
            return None
        strides, dilations = several("strides", 1, places), several("dilations", 1, places)
        return Alone("Conv", shape, sizes, strides, several("pads", 0, 2 * places), dilations, whole("group") or 1)
    if node.op_type in ("MatMul", "Gemm") and len(sizes) == 2 and shape and not whole("transA"):
        return Alone("MatMul", shape, sizes[::-1] if whole("transB") else sizes)
    return None


def alone_of_module(module: nn.Module, taken: Sequence[int]) -> Alone | None:
    """The layer that a module is, by the shape of what goes in; None for modules that are no linear or convolution."""
    if isinstance(module, nn.Linear):
        return Alone("MatMul", tuple(taken[1:]), (module.in_features, module.out_features))
    if isinstance(module, (nn.Conv1d, nn.Conv2d)) and not isinstance(module.padding, str):
        pads = tuple(module.padding) * 2
        sizes = tuple(module.weight.shape)
        return Alone("Conv", tuple(taken[1:]), sizes, module.stride, pads, module.dilation, module.groups)
    return None
