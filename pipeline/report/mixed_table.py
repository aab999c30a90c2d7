"""The tables of mixed precision: what became of every product of a graph whose loss is limited, and why."""

from __future__ import annotations

from collections.abc import Mapping

from secateur.export.artefacts import ExportedGraph
from secateur.export.quantize.limit import LayerChoice, Limited
from secateur.pipeline.report.folded_table import FoldedTable
from secateur.pipeline.report.table import compact

NUMBERS = frozenset({"MACs", "bit-operations", "cost alone"})
HEADS = ("layer", "operation", "MACs", "precision", "bit-operations", "cost alone", "why")


def mixed_tables(graphs: Mapping[str, ExportedGraph]) -> list[FoldedTable]:
    """A table for each graph with a limit on its loss, in the order of the graphs."""
    made = ((name, graph.quantized.limited) for name, graph in graphs.items() if graph.quantized is not None)
    return [_table(name, limited) for name, limited in made if limited is not None]


def _table(name: str, limited: Limited) -> FoldedTable:
    whole = sum(layer.bit_ops for layer in limited.layers)
    costs = (
        f"Its products take {limited.bit_ops:.1%} of the bit-operations (MACs times the bits of both operands) of the "
        f"fp32 graph, {limited.least_bit_ops:.1%} with all in 8 bits that can be; what a product costs alone is the "
        "mean divergence of the answers when nothing else is in 8 bits"
    )
    rows = tuple(_row(layer, whole) for layer in limited.layers)
    return FoldedTable(
        f"Every product of {name} and its precision", f"{name}: {limited.said}. {costs}.", HEADS, rows, NUMBERS
    )


def _row(layer: LayerChoice, whole: float) -> tuple[str, ...]:
    alone = "-" if layer.divergence is None else f"{layer.divergence:.2g}"
    share = f"{layer.bit_ops / whole:.1%}"
    return (
        layer.module or layer.node,
        layer.operation,
        compact(layer.macs),
        layer.precision,
        share,
        alone,
        layer.reason,
    )
