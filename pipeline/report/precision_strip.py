"""The precision of each layer of an engine, as a strip from the first layer to the last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from secateur.export.engine_info import ARITHMETIC, EngineInfo
from secateur.pipeline.report.folded_table import FoldedTable


@dataclass(frozen=True)
class Stretch:
    """Neighbouring layers of one precision: where they lie in the strip, in percent, and which they are."""

    precision: str
    place: float
    width: float
    said: str


@dataclass(frozen=True)
class Strip:
    """One engine: its folder in the run, the precision that was asked for, and what runs."""

    engine: str
    asked: str
    stretches: tuple[Stretch, ...]

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions that occur, in the order of the layers."""
        return tuple(dict.fromkeys(one.precision for one in self.stretches))


def precision_strips(engines: Mapping[str, EngineInfo]) -> list[Strip]:
    """A strip for each engine of whose layers the precision is known."""
    strips = []
    for name, info in engines.items():
        layers = [layer for layer in info.layers if layer.precision in ARITHMETIC]
        stretches, start = [], 0
        for precision, found in groupby(layers, lambda layer: layer.precision):
            part = list(found)
            ends = part[0].name if len(part) == 1 else f"{part[0].name} to {part[-1].name}"
            said = f"{len(part)} layer{'s' * (len(part) > 1)} in {precision}: {ends}"
            stretches.append(Stretch(precision, 100 * start / len(layers), 100 * len(part) / len(layers), said))
            start += len(part)
        if stretches:
            strips.append(Strip(name, info.precision, tuple(stretches)))
    return strips


def layer_tables(engines: Mapping[str, EngineInfo]) -> list[FoldedTable]:
    """Each engine's layers with their kinds and precisions."""
    heads = ("layer", "kind", "precision")
    return [
        FoldedTable(
            f"Every layer of {name}",
            "As the runtime names them, in their order",
            heads,
            tuple((layer.name, layer.kind, layer.precision) for layer in info.layers),
            only_html=True,
        )
        for name, info in engines.items()
        if info.layers
    ]
