"""The README's tables of one-shot pruning: DeiT-Tiny by part, ways and score, and secateur beside Torch-Pruning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from secateur_studies.score_tables import Table

from secateur.core.files import read_json

LEADING = ("obs", "xmask")
SCORES = ("taylor", "activation", "lrp", "magnitude")
PUBLISHED: Mapping[tuple[str, float], str] = {
    ("MLP", 0.5): "CORP 76.7 %, OB2C 78.1 %",
    ("query/key", 0.5): "CORP 89.0 %",
}
"""DeiT-Tiny on the full ImageNet validation set, of the papers' dense 72.2: CORP 55.37 and 64.25, DVBP + OB2C 56.40."""
Key = tuple[str, float, str, str, str, str]


def deit_by_part(results: Path) -> Table:
    """The share of the dense top-1 that is kept, by what goes; units chosen by each score, then compensation."""
    found = _rows(read_json(results / "deit_oneshot.json", "deit_oneshot"))
    parts = sorted({key[:2] for key in found}, key=lambda part: (ORDER.index(part[0]), part[1]))
    ways = [
        *((f"`{name}`, front to back", (name, "knapsack", "front to back", "")) for name in LEADING),
        *((f"`{name}`", (name, "knapsack", "compensate", "")) for name in LEADING),
        *((f"`{name}`", (name, "global", "compensate", "")) for name in SCORES),
    ]
    head = ("MACs that go", *(name for name, _ in ways), "published")
    lines = [
        (
            f"{removed:.0%} of {WORDS[part]}",
            *(_share(found.get((part, removed, *way))) for _, way in ways),
            PUBLISHED.get((part, removed), ""),
        )
        for part, removed in parts
    ]
    return head, lines


ORDER = ("MLP", "query/key", "attention", "both")
ELSEWHERE = (("uniform", "none"), ("knapsack", "none"), ("evolution", "none"))
"""Allocations and repairs that only the page of results has."""
WORDS = {"MLP": "the MLPs", "query/key": "the query/key dims", "attention": "attention", "both": "both"}


def deit_by_way(results: Path) -> Table:
    """Top-1 without half of the MLPs' hidden units, by score, for each allocation and repair."""
    found = _rows(read_json(results / "deit_oneshot.json", "deit_oneshot"))
    head, lines = _by_way({k: top1 for k, top1 in found.items() if k[:2] == ("MLP", 0.5) and k[3:5] not in ELSEWHERE})
    return ("half of the MLPs", *head), [tuple(line) for _, line in lines]


def deit_grid(results: Path) -> Table:
    """Top-1 of every row, by what goes and by score, for each allocation and repair."""
    head, lines = _by_way(_rows(read_json(results / "deit_oneshot.json", "deit_oneshot")))
    return ("MACs that go", "score", *head), [
        (f"{removed:.0%} of {WORDS[part]}", *line) for (part, removed), line in lines
    ]


def _by_way(found: dict[Key, tuple[float, float]]) -> tuple[Sequence[str], list[tuple[tuple[str, float], list[str]]]]:
    """The names of the columns (an allocation and a repair each); for each part and score, its name and cells."""
    ways = dict.fromkeys(key[3:5] for key in found)
    columns = sorted(ways, key=lambda way: (REPAIRS.index(way[1]), ALLOCATIONS.index(way[0])))
    scores = dict.fromkeys((*key[:3], key[5]) for key in found)
    lines = []
    for part, removed, score, options in sorted(scores, key=lambda line: (ORDER.index(line[0]), line[1])):
        name = f"`{score}`{', ' + options if options else ''}"
        cells = [_top1(found.get((part, removed, score, *way, options))) for way in columns]
        lines.append(((part, removed), [name, *cells]))
    return [f"{allocate}, {NAMES[repair]}" for allocate, repair in columns], lines


REPAIRS = ("none", "compensate", "front to back")
ALLOCATIONS = ("uniform", "global", "knapsack", "sensitivity", "evolution")
NAMES = {"none": "no repair", "compensate": "compensated", "front to back": "front to back"}


def peers_oneshot(results: Path) -> Table:
    """Top-1 of both sides at equal MACs, by model and epochs of distillation."""
    content = read_json(results / "peers_oneshot.json", "peers_oneshot")
    columns = dict.fromkeys((row["task"], row["removed"], row["epochs"]) for row in content["rows"])
    cells: dict[tuple[str, ...], dict[Column, Any]] = {}
    for row in content["rows"]:
        way = tuple(row[name] for name in ("side", "score", "ranking", "repair", "units"))
        cells.setdefault(way, {})[row["task"], row["removed"], row["epochs"]] = row
    lines = [(_way(way), *(_peer_cell(row.get(column)) for column in columns)) for way, row in cells.items()]
    return ("top-1 at equal MACs", *(_column(column, content) for column in columns)), lines


def peers_best(results: Path) -> Table:
    """For each model, what secateur's default ways keep, and the best of all ways of the peer that were measured."""
    content = read_json(results / "peers_oneshot.json", "peers_oneshot")
    columns: dict[Column, list[Any]] = {}
    for row in content["rows"]:
        if "top1" in row:
            columns.setdefault((row["task"], row["removed"], row["epochs"]), []).append(row)
    lines = []
    for column, rows in columns.items():
        best = max((row for row in rows if row["side"] != "secateur"), key=lambda row: row["top1"], default=None)
        ours = [
            next((row for row in rows if (row["side"], row["score"], row["ranking"], row["repair"]) == way), None)
            for way in BESIDE
        ]
        lines.append((_column(column, content), *(_peer_cell(row) for row in ours), _best_cell(best)))
    return ("top-1 at equal MACs", *(f"`{score}`, {NAMES[repair]}" for _, score, _, repair in BESIDE), THEIRS), lines


Column = tuple[str, float, int]
BESIDE = (
    ("secateur", "obs", "knapsack", "compensate"),
    ("secateur", "taylor", "global", "compensate"),
    ("secateur", "taylor", "global", "none"),
)
THEIRS = "the best of Torch-Pruning 1.6.1"
PARTS = {"deit_tiny": " of the MLPs"}
"""What the share that goes is of, where it is not of all MACs."""


def _column(column: Column, content: Mapping[str, Any]) -> str:
    task, removed, epochs = column
    after = f", {epochs} epochs" if epochs else ""
    return f"{task} -{removed:.0%}{PARTS.get(task, '')}{after} (dense {content['dense'][task]['top1']:.1f})"


def _way(way: Sequence[str]) -> str:
    side, score, ranking, repair, units = way
    every = ", any layer" if units == "all" else ""
    return f"{side}: {score}, {ranking}{every}{'' if repair == 'none' else ', ' + repair}"


def _best_cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "-"
    return f"{row['top1']:.1f} ({row['score']}, {row['ranking']}{', any layer' if row['units'] == 'all' else ''})"


def _peer_cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "-"
    return f"{row['top1']:.1f}" if "top1" in row else "error"


def _rows(content: dict[str, Any]) -> dict[Key, tuple[float, float]]:
    """The top-1 and its share of the dense one, by part, removed, score, allocation, repair and options."""
    found = {}
    for row in content["rows"]:
        options = ", ".join(f"{name} {value}" for name, value in row["options"].items())
        key = (row["part"], row["removed"], row["score"], row["allocate"], row["repair"], options)
        found[key] = (row["top1"], row["share_of_dense"])
    return found


def _share(found: tuple[float, float] | None) -> str:
    return f"{found[1]:.1%}" if found else "-"


def _top1(found: tuple[float, float] | None) -> str:
    return f"{found[0]:.1f}" if found else "-"


def latency_plan(results: Path) -> Table:
    """A latency budget: what was asked, what the target's table predicted, what the small model took."""
    found = read_json(results / "latency_plan.json", "latency_plan")
    took, target = found["measured_share_of_dense"], found["table"]["target"]
    measured = f"{took['share']:.1%} [{took['low']:.1%}, {took['high']:.1%}]"
    asked, predicted = (f"{found[f'{word}_share_of_dense']:.1%}" for word in ("asked", "predicted"))
    head = ("share of the dense latency", "asked", "predicted", "measured", "off by")
    return head, [(f"DeiT-Tiny on `{target}`", asked, predicted, measured, f"{found['off_by']:+.1%}")]
