"""The README's tables of masks and learned rates, and of models for some classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from secateur_studies.score_tables import Table

from secateur.core.files import read_json

TARGET = "onnxruntime:cpu"
REPAIRS = {
    "top1": "removed",
    "top1_tuned": "tuned",
    "top1_compensated": "compensated",
    "top1_compensated_tuned": "both",
}


PLAIN = "xmask"
MAIN = ("magnitude", "taylor", "lrp", PLAIN, "xmask, learned rates", "taylor, learned rates")
"""The ways that are compared; others vary the masks."""


def curves_of(task: str) -> Callable[[Path], Table]:
    """The table of a task's main ways, budget by budget."""
    return lambda results: curves_table(_rows(results, task, lambda row: row["way"] in MAIN))


def variants_of(task: str) -> Callable[[Path], Table]:
    """The table of masks with other options beside those with the defaults."""

    def table(results: Path) -> Table:
        varied = _rows(results, task, lambda row: row["way"] not in MAIN)["rows"]
        budgets = {row["macs"] for row in varied}
        plain = _rows(results, task, lambda row: row["way"] == PLAIN and row["macs"] in budgets)
        return curves_table({**plain, "rows": [*plain["rows"], *varied]})

    return table


def _rows(results: Path, task: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The content of a task's file with some of its rows."""
    content = read_json(results / f"xpruner_{task}.json", "xpruner_curves")
    return {**content, "rows": [row for row in content["rows"] if wanted(row)]}


def curves_table(content: dict[str, Any]) -> Table:
    """A row for each budget and way: the mean top-1 over seeds, with the least and the largest where there are more."""
    dense, rows = content["dense"], content["rows"]
    repairs = [name for name in REPAIRS if any(name in row for row in rows)]
    head = (
        f"MACs kept (dense: {dense['top1']:.1f} % on {dense['images']:,} images)",
        "score",
        *map(REPAIRS.get, repairs),
    )
    found: dict[tuple[float, str], list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: -row["macs"]):
        found.setdefault((row["macs"], row["way"]), []).append(row)
    lines = [
        (f"{macs:.0%}", way, *(_spread([row[name] for row in same if name in row]) for name in repairs))
        for (macs, way), same in found.items()
    ]
    return tuple(str(word) for word in head), lines


def class_specialised(results: Path) -> Table:
    """Accuracy on the classes, MACs, parameters and latency of each budget's model beside the dense one."""
    rows = read_json(results / "class_specialised.json", "class_specialised")["rows"]
    words = "ONNX Runtime, 1 thread: dense", "pruned", "times faster"
    head = ("MACs kept", "recovery", "top-1", "MACs", "parameters", *words)
    lines: list[Sequence[str]] = [("all", "", *_size(rows[0]["bench"]["dense"]), "", "", "")]
    for row in sorted(rows, key=lambda row: (-row["macs_kept"], row["epochs"])):
        bench, ratio = row["bench"], row["bench"]["speedup"][TARGET]
        share = f"{bench['pruned']['macs'] / bench['dense']['macs']:.0%}"
        faster = f"{ratio['ratio']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]"
        recovery = "compensated and distilled" if row["epochs"] else "compensated"
        times = [f"{bench[side]['latency_ms'][TARGET]['p50']:.1f} ms" for side in ("dense", "pruned")]
        lines.append((share, recovery, *_size(bench["pruned"]), *times, faster))
    return head, lines


def _size(side: dict[str, Any]) -> tuple[str, str, str]:
    """Top-1, MACs and parameters of one model."""
    return f"{side['top1']:.1f} %", f"{side['macs'] / 1e6:.0f} M", f"{side['params'] / 1e6:.2f} M"


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    mean = f"{sum(values) / len(values):.1f}"
    return mean if len(values) == 1 else f"{mean} [{min(values):.1f}, {max(values):.1f}]"
