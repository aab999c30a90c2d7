"""What one pass through a model's graph collects: labels, couplings, roles of dimensions, costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx

from secateur.pipeline.structure.graph.coupling import Aside, Coupling, Mark
from secateur.pipeline.structure.graph.normalising import Entries
from secateur.pipeline.structure.graph.program import Ancestry, operation_of
from secateur.pipeline.structure.graph.unify import Cost
from secateur.pipeline.structure.graph.value import LabelMap, Value, dims_of
from secateur.pipeline.structure.groups import Role
from secateur.pipeline.structure.layer_form import WeightView
from secateur.pipeline.structure.samples import Samples

OUTPUT = "it is an output of the model"
_MOVES = (
    *("getitem", "split", "split_with_sizes", "chunk", "tensor_split", "unbind", "slice", "narrow", "t", "transpose"),
    *("permute", "numpy_T", "mT", "swapaxes", "movedim", "view", "reshape", "flatten", "unflatten", "unsqueeze"),
    *("squeeze", "expand", "contiguous", "clone", "detach", "to", "_to_copy"),
)
"""What leaves the numbers of a parameter as they are: parts of it, in another order, shape or type."""


@dataclass(frozen=True, eq=False)
class Product:
    """A call that multiplies by a parameter, or by a part of it, as a linear layer does.

    `view` is the matrix, None for all of a parameter `[out, in]`; `rows` and `columns` have the labels of what it makes
    and reads; `module` is where the call is, and `samples` where the samples lie in what it reads.
    """

    module: str
    view: WeightView | None
    rows: tuple[Tensor, ...]
    columns: tuple[Tensor, ...]
    samples: Samples


@dataclass(frozen=True, eq=False)
class Trace:
    """What the rules of the operations write down, one after the other.

    `tensors` has the labels of every dimension of each floating-point parameter and buffer (none where the length is
    1). `roles` says of (tensor, dim) what a layer does with it, `owners` which module's call reads a weight, `handed`
    which weights go into that call as they are, `samples` where the samples lie in what they meet, and `products` which
    calls multiply by a parameter or a part of it. `entries` says what goes into the modules that normalise, and `norms`
    along which dimension of it they do, over which labels, a row for each place that is normalised alone. `heads` has
    the labels of queries, keys and values, a row for each head. `values`, `names` and `places` say of a node what is
    known of its result, which tensor it is, and where its samples lie; `aliases` has the first name of a shared tensor,
    `unread` the parameters that nothing reads, with the reason, and `uncounted` the operations that may carry MACs
    which are in no cost.
    """

    aliases: Mapping[str, str] = field(default_factory=dict)
    coupling: Coupling = field(default_factory=Coupling)
    tensors: dict[str, tuple[Tensor | None, ...]] = field(default_factory=dict)
    roles: dict[tuple[str, int], Role] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    handed: set[str] = field(default_factory=set)
    samples: dict[str, Samples] = field(default_factory=dict)
    products: dict[str, list[Product]] = field(default_factory=dict)
    entries: Entries = field(default_factory=dict)
    norms: dict[str, tuple[int, LabelMap]] = field(default_factory=dict)
    heads: list[Tensor] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    values: dict[fx.Node, Any] = field(default_factory=dict)
    names: dict[fx.Node, str] = field(default_factory=dict)
    places: dict[fx.Node, Samples] = field(default_factory=dict)
    ancestry: Ancestry = field(default_factory=Ancestry)
    unread: dict[str, str] = field(default_factory=dict)
    uncounted: dict[str, None] = field(default_factory=dict)

    def of_other_mode(self) -> Trace:
        """A trace of the same parameters in another mode: it couples what meets there, and keeps nothing else."""
        return Trace(
            self.aliases,
            coupling=self.coupling,
            tensors=self.tensors,
            roles=self.roles,
            norms=self.norms,
            heads=self.heads,
        )

    @cached_property
    def aside(self) -> Trace:
        """The same trace for operations whose results nobody reads: what they would couple or fix is left out."""
        return replace(self, coupling=Aside(self.coupling))

    def parameter(self, name: str, tensor: Tensor, constant: bool = False) -> Value:
        """A parameter or buffer, each of its dimensions with labels of its own; a buffer may be a `constant`."""
        if not tensor.is_floating_point():
            return Value(tuple(tensor.shape), (), tensor)
        new = self.coupling.constant if constant else self.coupling.fresh
        fresh = tuple(new(size) if size > 1 else None for size in tensor.shape)
        labels = self.tensors.setdefault(name, fresh)
        maps = []
        for dim, found in enumerate(labels):
            if found is not None:
                shape = [1] * tensor.ndim
                shape[dim] = tensor.shape[dim]
                maps.append(found.reshape(shape))
        return Value(tuple(tensor.shape), tuple(maps))

    def role(self, node: Any, dim: int, role: Role) -> None:
        """Says what an operation does with one dimension of a node that stands for a parameter, moved or in part.

        What one operation reads and another makes, as in tied layers, is `tied`.
        """
        name, value = self.parameter_of(node), self.values.get(node)
        for labels in value.on(dim) if name and isinstance(value, Value) else ():
            for place, own in enumerate(self.tensors.get(name, ())):
                if own is not None and bool(torch.isin(labels, own).any()):
                    known = self.roles.setdefault((name, place), role)
                    self.roles[name, place] = role if known == role else "tied"

    def parameter_of(self, node: Any) -> str:
        """The name of the parameter that a node stands for, moved or in part; empty where it is computed."""
        while isinstance(node, fx.Node) and node.op == "call_function" and operation_of(node) in _MOVES:
            node = node.args[0]
        return self.names.get(node, "") if isinstance(node, fx.Node) else ""

    def normalises(self, module: str) -> str | None:
        """The module that normalises in which an operation of `module` lies: itself, or one around it."""
        while module and module not in self.entries:
            module = module.rpartition(".")[0]
        return module or None

    def normalised(self, module: str, labels: LabelMap, dims: set[int]) -> None:
        """Notes that an operation of a module takes a statistic over the dimensions `dims` of a label map.

        A module that normalises can do so over fewer units, the same ones wherever else the labels change. Others need
        them all, since units at zero would count.
        """
        one = labels[tuple(slice(None) if dim in dims else slice(0, 1) for dim in range(labels.ndim))]
        norm = self.normalises(module)
        place = None if norm is None else self._along(norm, one)
        if norm is None or place is None:
            if dims_of(labels) - dims and dims_of(labels) & dims == {max(dims_of(labels))}:
                self.coupling.piece(labels, f"{module}: a statistic is taken over all dimensions of a head")
            else:
                self.coupling.fix(labels, f"{module}: a statistic is taken over it")
            return
        self.coupling.couple(labels, one, across=True)
        self.coupling.mark(one, "norm")
        rows = labels.movedim(sorted(dims), list(range(-len(dims), 0))).reshape(-1, one.numel())
        self.norms.setdefault(norm, (place, rows))

    def _along(self, norm: str, labels: LabelMap) -> int | None:
        """The dimension of what goes into a module along which labels lie; None where it is not one only."""
        found = set()
        for entry in self.entries[norm]:
            value = self.values.get(entry)
            for other in value.maps if isinstance(value, Value) else ():
                for dim in dims_of(other):
                    rows = other.movedim(dim, -1).reshape(-1, other.shape[dim])
                    if rows.shape[1] == labels.numel() and bool((rows == labels.reshape(-1)).all(dim=1).any()):
                        found.add(dim)
        return found.pop() if len(found) == 1 else None

    def lose(self, labels: LabelMap, module: str, operation: str) -> None:
        """Notes that labels end in an operation of a module that nothing can be followed through."""
        self.coupling.fix(labels, f"{module}: secateur cannot follow units through {operation}")
        self.coupling.mark(labels, "lost")

    def count(self, operation: str, module: str, macs: int | None) -> None:
        """Notes what an operation costs whose MACs stay as they are, None where nobody knows."""
        if macs is None:
            self.uncounted[f"{operation} in {module or 'the model itself'}"] = None
        elif macs:
            self.costs.append(Cost(module, macs, ()))

    def attends(self, labels: LabelMap, dim: int, mark: Mark) -> None:
        """Notes the labels of queries, keys or values, whose dimensions lie along `dim`."""
        self.coupling.mark(labels, mark)
        self.heads.append(labels.movedim(dim, -1).reshape(-1, labels.shape[dim]))
