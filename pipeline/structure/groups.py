"""What can be removed from a model, and which slices of which tensors go with it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal, get_args, overload

import numpy as np
from numpy.typing import NDArray

from secateur.core.errors import PlanError, near_matches
from secateur.core.files import sha256_json
from secateur.core.html_table import html_table
from secateur.pipeline.structure.layer_form import WeightView
from secateur.pipeline.structure.samples import FIRST, Samples

if TYPE_CHECKING:
    from secateur.core.input_spec import InputSpec
    from secateur.pipeline.structure.codegen.traced_model import TracedModel

UnitKind = Literal["head", "qk_dim", "v_dim", "mlp_hidden", "channel", "width"]
LayerKind = Literal["attention", "mlp", "block"]
Kind = Literal[UnitKind, LayerKind]
KINDS: tuple[UnitKind, ...] = get_args(UnitKind)
"""The kinds of what is inside layers."""
LAYER_KINDS: tuple[LayerKind, ...] = get_args(LayerKind)
"""Those of whole layers, whose groups hold other groups (`layers.with_layers`)."""
Role = Literal["out", "in", "tied", "norm", "table"]
MAKES: tuple[Role, ...] = ("out", "tied")
READS: tuple[Role, ...] = ("in", "tied")
Kept = Mapping[str, Sequence[int]]
"""For each group, by name, the sorted indices of the units that stay; a group left out keeps all its units."""


@dataclass(frozen=True)
class Slice:
    """One dimension of one tensor whose positions belong to the units of a group.

    `tensor` is a name in `model.state_dict()`; `units[p]` is the unit that position `p` of dimension `dim` goes
    with, or -1 where the position belongs to no unit of the group. The role says what the dimension does:
    `out` makes the units' values, `in` reads them, `tied` does both, as a weight that is used once more the other way
    round, `norm` scales or shifts them one by one, `table` is indexed by them (a bias per head).
    """

    tensor: str
    dim: int
    role: Role
    units: tuple[int, ...]


Side = Literal["input", "output"]
SIDES: tuple[Side, ...] = get_args(Side)
"""The sides of a layer."""


@dataclass(frozen=True)
class Site:
    """Where the values of a group's units can be read while the model runs: one side of one module.

    `dim` is the dimension of the module's input or output tensor along which the units lie (negative counts from
    the end); `units[p]` is the unit at position `p`, or -1. Where the module is not called, but its tensor `weight` is
    handed to a function, the side is that of the function, and where it multiplies by a part of it, or by it the other
    way round, `view` says by which. `samples` says where the samples are; what is read at a site has them first.
    """

    module: str
    side: Side
    dim: int
    units: tuple[int, ...]
    weight: str = ""
    samples: Samples = FIRST
    view: WeightView | None = None

    @property
    def name(self) -> str:
        """That of the layer: of the module, or of the tensor, or part of it, that is handed to a function."""
        name = f"{self.module}.{self.weight}".lstrip(".") if self.weight else self.module
        return f"{name} ({self.view})" if self.view else name

    @property
    def key(self) -> tuple[str, str]:
        """The layer and its side, which no other layer has."""
        return self.name, self.side


@dataclass(frozen=True)
class Group:
    """Units of one kind in one place, each with all parameter slices that must go when it goes.

    A group of per-head dimensions has `blocks` = number of heads; its units are numbered block by block
    (`unit = head * dims + dim`) and `parent` names the group of the heads: a head that goes takes its block along.
    Groups of one `family` are isomorphic: same kind and same tensor shapes, so that scores may be ranked together.
    `min_units` is the least number of units that must stay (per block if there are several). The one unit of a whole
    layer `holds` the units of the groups with these names, which go with it.
    """

    name: str
    kind: Kind
    units: int
    slices: tuple[Slice, ...]
    sites: tuple[Site, ...] = ()
    blocks: int = 1
    parent: str = ""
    family: str = ""
    min_units: int = 0
    holds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fixed:
    """Units that were looked at and cannot be removed, with the reason in one sentence."""

    name: str
    kind: Kind
    units: int
    reason: str


@dataclass(frozen=True)
class Unverifiable:
    """A group of which a mistake of surgery would not be seen in the model's outputs, with the reason."""

    name: str
    reason: str


@dataclass(frozen=True)
class Axis:
    """A length that shrinks with the groups: position `p` stays when all its `members` keep it.

    `members` maps a group's name to the unit at each position (-1: not of that group).
    """

    size: int
    members: tuple[tuple[str, tuple[int, ...]], ...] = ()

    def positions(self, kept: Kept) -> NDArray[np.bool_]:
        """A mask `[size]`, True where the position stays."""
        mask = np.ones(self.size, dtype=bool)
        for name, index in self._indices:
            if name in kept:
                stays = np.zeros(int(index.max(initial=-1)) + 2, dtype=bool)
                stays[-1] = True  # of -1
                keep = np.asarray(kept[name], dtype=int)
                stays[keep[keep < stays.size - 1]] = True
                mask &= stays[index]
        return mask

    def length(self, kept: Kept) -> int:
        """How many positions stay."""
        for name, _ in self.members:
            if name in kept:
                return int(np.count_nonzero(self.positions(kept)))
        return self.size

    @cached_property
    def _indices(self) -> tuple[tuple[str, NDArray[np.int64]], ...]:
        return tuple((name, np.array(units, dtype=np.int64)) for name, units in self.members)


@dataclass(frozen=True)
class Norm(Axis):
    """The width of a module that normalises: the dimension `dim` of its input."""

    dim: int = -1


@dataclass(frozen=True)
class Term:
    """Multiply-accumulates of one operation: `macs` times the lengths of the `axes`, for one sample.

    The `name` is its module's, with what tells it from other operations of the module: `attn.logits`, or `attn#2` for
    the second.
    """

    name: str
    macs: float
    axes: tuple[Axis, ...]

    def count(self, kept: Kept) -> float:
        """MACs of the operation with only the `kept` units."""
        total = self.macs
        for axis in self.axes:
            total *= axis.length(kept)
        return total


@dataclass(frozen=True, repr=False)
class Groups(Sequence[Group]):
    """All groups of one model, what is fixed in it, and what its operations cost (`terms`, MACs a sample).

    `shapes` holds every tensor of the model's state dict with its dense shape; `inputs` says what the model is called
    with. `norms` has, for each module that normalises over units of a group, its width;
    `architecture` is the fingerprint where it is not that of these groups alone. The code of the modules `adapted`
    repeats numbers of units, so that surgery takes it from the graph, `traced`; that of the modules `one_size` then
    works at one size of the inputs only, though the dense model takes others. `unverifiable` are groups of which a
    mistake would not be seen, as far as the groups were verified. `ungrouped` says of (tensor, dim) with positions of
    no group why that is, `uncounted` which operations may carry MACs that are in no term.

    >>> groups.named("blocks.0.mlp.hidden").units
    192
    >>> groups.macs({"blocks.0.mlp.hidden": range(96)}) < groups.macs()
    True
    """

    groups: tuple[Group, ...]
    fixed: tuple[Fixed, ...]
    terms: tuple[Term, ...]
    shapes: Mapping[str, tuple[int, ...]]
    parameters: frozenset[str]
    inputs: InputSpec
    norms: Mapping[str, Norm] = field(default_factory=dict)
    architecture: str = ""
    adapted: tuple[str, ...] = ()
    one_size: tuple[str, ...] = ()
    unverifiable: tuple[Unverifiable, ...] = ()
    ungrouped: Mapping[tuple[str, int], str] = field(default_factory=dict)
    uncounted: tuple[str, ...] = ()
    traced: TracedModel | None = field(default=None, repr=False, compare=False)
    _by_name: dict[str, Group] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        for group in self.groups:
            if group.name in self._by_name:
                raise ValueError(f"two groups are called {group.name!r}")
            self._by_name[group.name] = group

    def __repr__(self) -> str:
        """How many groups of which kinds there are, and what the model costs; their fields would fill many pages."""
        kinds = Counter(group.kind for group in self.groups)
        counted = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "none"
        return f"Groups({counted}; {self.macs():,.0f} MACs, {self.params():,} parameters; {len(self.fixed)} fixed)"

    def _repr_html_(self) -> str:
        """The groups as a notebook shows them: those that can be cut, and what is fixed with its reason."""
        rows: list[tuple[object, ...]] = [(one.name, one.kind, one.units, one.blocks, "") for one in self.groups]
        rows += [(one.name, one.kind, one.units, "", f"fixed: {one.reason}") for one in self.fixed]
        return html_table(repr(self), ("group", "kind", "units", "blocks", ""), rows)

    @overload
    def __getitem__(self, key: int) -> Group: ...
    @overload
    def __getitem__(self, key: slice) -> Sequence[Group]: ...
    def __getitem__(self, key: int | slice) -> Group | Sequence[Group]:
        return self.groups[key]

    def __len__(self) -> int:
        return len(self.groups)

    def __iter__(self) -> Iterator[Group]:
        return iter(self.groups)

    def named(self, name: str) -> Group:
        """The group of that name; raises `PlanError` with near matches when there is none."""
        if name not in self._by_name:
            raise PlanError(f"the model has no group {name!r}{near_matches(name, self._by_name)}")
        return self._by_name[name]

    @cached_property
    def axes(self) -> dict[tuple[str, int], Axis]:
        """For each (tensor, dim) that any group touches, the axis with all its members."""
        members: dict[tuple[str, int], list[tuple[str, tuple[int, ...]]]] = {}
        for group in self.groups:
            for part in group.slices:
                members.setdefault((part.tensor, part.dim), []).append((group.name, part.units))
        return {key: Axis(self.shapes[key[0]][key[1]], tuple(found)) for key, found in members.items()}

    def fingerprint(self) -> str:
        """A SHA-256 over names, units and slices: equal for equal architectures, whatever the weights.

        Groups that a trial has left alone count, so that a plan may be replayed without a trial.
        """
        if self.architecture:
            return self.architecture
        content = [
            [g.name, g.kind, g.units, g.blocks, g.parent, [[s.tensor, s.dim, s.role, s.units] for s in g.slices]]
            for g in self.groups
        ]
        shapes = sorted((name, list(shape)) for name, shape in self.shapes.items())
        return sha256_json([content, shapes, self.inputs.without_values.to_json()])

    def macs(self, kept: Kept | None = None) -> float:
        """Multiply-accumulates for one sample, of the dense model or with only the `kept` units."""
        return sum(term.count(kept or {}) for term in self.terms)

    def params(self, kept: Kept | None = None) -> int:
        """Parameters (buffers not counted), of the dense model or with only the `kept` units."""
        total, products = self._counted
        lengths = {place: axis.length(kept or {}) for place, axis in enumerate(self._axes_once)}
        for size, places in products:
            total += size * math.prod(map(lengths.__getitem__, places))
        return total

    @cached_property
    def _axes_once(self) -> tuple[Axis, ...]:
        """The axes, equal ones once: those of a weight and its bias, or of layers of one stream."""
        return tuple(dict.fromkeys(self.axes.values()))

    @cached_property
    def _counted(self) -> tuple[int, Sequence[tuple[int, tuple[int, ...]]]]:
        """The parameters that no group touches, and for each tensor of the others its lengths' product and its axes.

        Axes are places in `_axes_once`.
        """
        places = {axis: place for place, axis in enumerate(self._axes_once)}
        untouched, products = 0, Counter[tuple[int, ...]]()
        for name in self.parameters:
            dims = [(size, self.axes.get((name, dim))) for dim, size in enumerate(self.shapes[name])]
            size = math.prod(size for size, axis in dims if axis is None)
            shrinking = tuple(sorted(places[axis] for _, axis in dims if axis is not None))
            if shrinking:
                products[shrinking] += size
            else:
                untouched += size
        return untouched, [(size, shrinking) for shrinking, size in products.items()]
