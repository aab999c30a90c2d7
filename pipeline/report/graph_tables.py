"""What became of the graphs: nodes that stay wider than asked, and what runs in which precision in the engines."""

from __future__ import annotations

from collections.abc import Mapping

from secateur.export.artefacts import ExportedGraph
from secateur.export.engine_info import EngineInfo
from secateur.pipeline.report.folded_table import FoldedTable

KEPT_HEADS = ("graph", "node", "why it is not in the graph's precision")
ENGINE_HEADS = (
    *("engine", "graph", "MB", "layers by precision", "fused attention", "products add up in", "conversions"),
    "read from",
)
PARITY_HEADS = ("graph", "precision", "MB", "difference", "allowed", "same answer")
SOURCES = {
    "engine": "the loaded engine",
    "builder": "the builder's report",
    "network": "the network before it was built",
    "session": "the optimised session",
}


def kept_table(graphs: Mapping[str, ExportedGraph]) -> FoldedTable | None:
    """The nodes that stay in float32, or out of 8 bits, in each graph, with the reasons; None where there are none."""
    rows = []
    for name, graph in graphs.items():
        kept = {**(graph.quantized.kept if graph.quantized is not None else {}), **graph.info.kept}
        rows += [(name, node, reason) for node, reason in kept.items()]
    if not rows:
        return None
    said = "Nodes that do not compute in the precision of their graph, and why"
    return FoldedTable("Every node that stays wider", f"{said}.", KEPT_HEADS, tuple(rows))


def engine_table(engines: Mapping[str, EngineInfo]) -> FoldedTable | None:
    """What each engine was found to run, by the engines' folders; None where there are none."""
    if not engines:
        return None
    said = "What was found in the engines after they were built; conversions change the type or the layout alone"
    numbers = frozenset({"MB", "fused attention"})
    rows = tuple(_row(name, info) for name, info in engines.items())
    return FoldedTable("Every engine and what it runs", f"{said}.", ENGINE_HEADS, rows, numbers)


def parity_table(graphs: Mapping[str, ExportedGraph]) -> FoldedTable | None:
    """How far each graph is from PyTorch, or why that is not known; None where nothing was exported."""
    if not graphs:
        return None
    said = (
        "The largest difference between ONNX Runtime and PyTorch as a share of the outputs' scale, and how often the "
        "largest output is the same"
    )
    rows = tuple(_parity(name, graph) for name, graph in graphs.items())
    return FoldedTable("Every graph beside PyTorch", f"{said}.", PARITY_HEADS, rows, frozenset(PARITY_HEADS[2:]))


def _parity(name: str, graph: ExportedGraph) -> tuple[str, ...]:
    start = (name, graph.info.precision, f"{graph.info.size_bytes / 1e6:.1f}")
    if graph.parity is None:
        return (*start, f"not checked: {graph.not_checked}", "", "")
    same = min(one.agreement for one in graph.parity.differences)
    return (*start, f"{graph.parity.worst.relative:.1e}", f"{graph.parity.tolerance:.0e}", f"{same:.0%}")


def _row(name: str, info: EngineInfo) -> tuple[str, ...]:
    return (
        name,
        info.precision,
        f"{info.size_bytes / 1e6:.1f}",
        _counts(info.precisions),
        str(info.attention),
        _counts(info.accumulation) or "not told",
        _counts(info.conversions) or "none",
        SOURCES[info.inspected],
    )


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{word}: {count}" for word, count in counts.items())
