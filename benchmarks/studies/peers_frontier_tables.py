"""The table of one-shot pruning beside GRAIL and SnapViT: who chose the units, and who repaired what they leave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from secateur_studies.score_tables import Table

from secateur.core.files import read_json

Cell = tuple[str, str, float]
Found = Mapping[str, Any]
OURS = ("compensate", "front to back", "none")
"""Our repairs, as `deit_oneshot` has them."""
WORDS = {"MLP": "of the MLPs", "both": "of both", "all": "of all"}
REPAIRS = {
    "none": "nothing",
    "compensate": "secateur, compensated",
    "front to back": "secateur, front to back",
}


def peers_frontier(results: Path) -> Table:
    """Top-1 at equal MACs, for each selection and repair; our own ways on DeiT-Tiny are those of `deit_oneshot`."""
    content = read_json(results / "peers_frontier.json", "peers_frontier")
    rows: list[Found] = content["rows"]
    cells = list(dict.fromkeys(_cell(row) for row in rows))
    ways: dict[tuple[str, str], dict[Cell, Found]] = {}
    for row in [*_our_rows(results, cells), *rows]:
        ways.setdefault((row["selection"], row["repair"]), {}).setdefault(_cell(row), row)
    head = ("units chosen by: repaired by", *(_column(cell, content["dense"]) for cell in cells))
    lines = [
        (f"{selection}: {REPAIRS.get(repair, repair)}", *(_top1(found.get(cell)) for cell in cells))
        for (selection, repair), found in sorted(ways.items(), key=lambda way: _order(*way[0]))
    ]
    return head, lines


def _our_rows(results: Path, cells: list[Cell]) -> Iterator[Found]:
    """Our own rows on DeiT-Tiny: units by `obs` and the knapsack, on the same images and with the same budget."""
    for row in read_json(results / "deit_oneshot.json", "deit_oneshot")["rows"]:
        found = {**row, "task": "deit_tiny", "selection": "secateur obs"}
        ours = (row["score"], row["allocate"], row["options"]) == ("obs", "knapsack", {}) and row["repair"] in OURS
        if ours and _cell(found) in cells:
            yield found


def _order(selection: str, repair: str) -> tuple[int, str, bool, str]:
    """secateur first; what is not repaired after what is."""
    return ("secateur", "GRAIL", "SnapViT").index(selection.split()[0]), selection, repair == "none", repair


def _cell(row: Found) -> Cell:
    return row["task"], row["part"], row["removed"]


def _column(cell: Cell, dense: Mapping[str, Any]) -> str:
    task, part, removed = cell
    return f"{task}, {removed:.0%} {WORDS[part]} (dense {dense[task]['top1']:.1f})"


def _top1(row: Found | None) -> str:
    """The top-1, a dash for what was not measured, or that the peer cannot cut so much."""
    if row is None:
        return "-"
    return f"{row['top1']:.1f}" if "top1" in row else "cannot"
