"""The README's tables of scores: A_PR by method, and the speed of relevance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from secateur.core.files import read_json

Table = tuple[Sequence[str], Sequence[Sequence[str]]]
WORDS = {"three": "three classes", "ten": "ten classes", "full": "1,000 classes"}


def transformer_a_pr(results: Path) -> Table:
    """A_PR of DeiT-Tiny's heads and neurons."""
    return a_pr_table(read_json(results / "pxp_protocol.json", "pxp_protocol"))


def cnn_a_pr(results: Path) -> Table:
    """A_PR of the channels of CNNs."""
    return a_pr_table(read_json(results / "cnn_curves.json", "cnn_curves"))


def a_pr_table(content: dict[str, Any]) -> Table:
    """A row for each method, a column for each task and kind of units: the mean A_PR over draws and seeds."""
    cells: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in content["rows"]:
        column = cells.setdefault((row["task"].split("/")[0], row["units"]), {})
        column.setdefault(row["method"], []).append(row["a_pr"])
    methods = dict.fromkeys(row["method"] for row in content["rows"])
    head = ("A_PR (%)", *(f"{WORDS.get(task, task)}: {units}" for task, units in cells))
    return head, [(name, *(_mean(column.get(name, [])) for column in cells.values())) for name in methods]


def relevance_speed(results: Path) -> Table:
    """Images a second and peak memory of both sides of each comparison."""
    head = ("relevance of", "images/s", "theirs", "times faster", "peak memory", "theirs")
    rows = []
    for name, row in read_json(results / "lrp_speed.json", "lrp_speed")["rows"].items():
        sides, ratio = (row["ours"], row["theirs"]), row["times_faster"]
        speeds = [f"{side['images_per_second']:.1f}" for side in sides]
        peaks = [f"{side['peak_bytes'] / 1e6:.0f} MB" for side in sides]
        rows.append((name, *speeds, f"{ratio['ratio']:.1f} [{ratio['low']:.1f}, {ratio['high']:.1f}]", *peaks))
    return head, rows


def _mean(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.1f}" if values else "-"
