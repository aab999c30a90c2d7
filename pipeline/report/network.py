"""The network layer by layer with what stayed: the bars of the drawing, as shares of its width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from secateur.pipeline.structure.describe import GroupRow
from secateur.pipeline.structure.groups import Kind

KIND_TITLES: Mapping[Kind, str] = {
    "head": "attention heads",
    "qk_dim": "query/key dimensions",
    "v_dim": "value dimensions",
    "mlp_hidden": "MLP hidden units",
    "channel": "convolution channels",
    "width": "residual width",
}
FEW = 24
"""Up to so many units are drawn one by one."""


@dataclass(frozen=True)
class Bar:
    """One group: its `name`, the part of it that its layer's row does not say (`label`), and what stayed of it.

    `width` is the group's length in the drawing, in percent: its units among those of the widest group of its kind.
    `single` says of each unit whether it stayed, where they are few.
    """

    name: str
    label: str
    kind: Kind
    units: int
    kept: int
    macs_share: float
    width: float
    single: tuple[bool, ...] = ()

    @property
    def share(self) -> float:
        """How much of the group stayed, in percent."""
        return 100 * self.kept / self.units

    @property
    def said(self) -> str:
        """What the bar shows, in a sentence."""
        rest = f"takes part in {self.macs_share:.1%} of the dense MACs"
        return f"{self.name}: {self.kept:,} of {self.units:,} {KIND_TITLES[self.kind]} stayed; {rest}"


@dataclass(frozen=True)
class Layer:
    """The groups whose names begin alike, such as those of one block."""

    name: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class KindTotal:
    """How many units of a kind the model had and kept."""

    kind: Kind
    units: int
    kept: int

    @property
    def title(self) -> str:
        """The kind in words."""
        return KIND_TITLES[self.kind]


@dataclass(frozen=True)
class Network:
    """The layers in the model's order, with the kinds of units that were pruned, and those `whole` that were not."""

    layers: tuple[Layer, ...]
    pruned: tuple[KindTotal, ...]
    whole: tuple[KindTotal, ...]

    @property
    def columns(self) -> int:
        """How many bars stand side by side: those of the fullest layer, four at most."""
        return min(max((len(layer.bars) for layer in self.layers), default=1), 4)


def network(groups: Sequence[GroupRow], kept: Mapping[str, Sequence[int]]) -> Network:
    """The drawing of a model whose groups keep the units in `kept`; a group that is not in it keeps all."""
    left = {row.name: tuple(kept.get(row.name, range(row.units))) for row in groups}
    totals = []
    for kind in KIND_TITLES:
        rows = [row for row in groups if row.kind == kind]
        if rows:
            totals.append(KindTotal(kind, sum(row.units for row in rows), sum(len(left[row.name]) for row in rows)))
    pruned = tuple(total for total in totals if total.kept < total.units)
    shown = [row for row in groups if row.kind in {total.kind for total in pruned}]
    widest = {kind: max(row.units for row in shown if row.kind == kind) for kind in {row.kind for row in shown}}
    layers: dict[str, list[Bar]] = {}
    for row in shown:
        layer, label = layer_of(row.name)
        stays, width = left[row.name], 100 * row.units / widest[row.kind]
        single = tuple(unit in stays for unit in range(row.units)) if row.units <= FEW else ()
        bar = Bar(row.name, label, row.kind, row.units, len(stays), row.macs_share, width, single)
        layers.setdefault(layer, []).append(bar)
    return Network(
        tuple(Layer(name, tuple(bars)) for name, bars in layers.items()),
        pruned,
        tuple(total for total in totals if total.kept == total.units),
    )


def layer_of(name: str) -> tuple[str, str]:
    """A group's name in two: the layer through the last number in it, and the rest (`blocks.3`, `mlp.hidden`)."""
    words = name.split(".")
    numbers = [place for place, word in enumerate(words[:-1]) if word.isdigit()]
    place = numbers[-1] + 1 if numbers else len(words) - 1
    return ".".join(words[:place]) or name, ".".join(words[place:])
