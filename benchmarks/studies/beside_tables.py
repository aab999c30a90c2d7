"""The README's small table of secateur beside Torch-Pruning, GRAIL and ModelOpt, from the files that compare them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from secateur_studies.peers_frontier_tables import peers_frontier
from secateur_studies.score_tables import Table

from secateur.core.files import read_json

Row = Mapping[str, Any]
PRUNED = (("deit_tiny", 0.5, 0), ("resnet56", 0.5, 0), ("resnet56", 0.5, 2))
"""The rows of `peers_oneshot` that the table has: model, share that goes, epochs of distillation."""
QUANTIZED = "deit_tiny_patch16_224"
MLPS = "deit_tiny, 50% of the MLPs "
"""How the column of `peers_frontier` begins that GRAIL is compared in: it cuts MLPs alone."""


def beside(results: Path) -> Table:
    """Top-1 in percent on the same images, secateur's default way beside the best of each other one's."""
    head = ("top-1 on the same images, no training unless said", "dense", "secateur", "the other, at its best")
    return head, [*_torch_pruning(results), _grail(results), *_modelopt(results)]


def _torch_pruning(results: Path) -> Iterable[Sequence[str]]:
    content = read_json(results / "peers_oneshot.json", "peers_oneshot")
    for task, removed, epochs in PRUNED:
        rows = [
            row
            for row in content["rows"]
            if (row["task"], row["removed"], row["epochs"]) == (task, removed, epochs) and "top1" in row
        ]
        ours = _way(rows, ("secateur", "obs", "knapsack", "compensate"))
        theirs = max((row for row in rows if row["side"] != "secateur"), key=lambda row: float(row["top1"]))
        after = f", then {epochs} epochs" if epochs else ""
        yield (
            f"{task}, {1 - ours['macs'] / content['dense'][task]['macs']:.0%} of all MACs go{after}",
            f"{content['dense'][task]['top1']:.1f}",
            f"{ours['top1']:.1f}",
            f"Torch-Pruning 1.6.1 {theirs['top1']:.1f} ({theirs['score']}, {theirs['ranking']})",
        )


def _way(rows: Sequence[Row], way: tuple[str, ...]) -> Row:
    return next(row for row in rows if (row["side"], row["score"], row["ranking"], row["repair"]) == way)


def _grail(results: Path) -> Sequence[str]:
    """Half of the MLPs: GRAIL's repair of units by the best of its own selectors, and of those that secateur chose."""
    dense = read_json(results / "peers_frontier.json", "peers_frontier")["dense"]["deit_tiny"]["top1"]
    head, lines = peers_frontier(results)
    (column,) = (index for index, name in enumerate(head) if name.startswith(MLPS))
    top1 = {line[0]: line[column] for line in lines}
    own = {name: float(cell) for name, cell in top1.items() if name.startswith("GRAIL") and cell[0].isdigit()}
    best = max(own, key=lambda name: own[name])
    return (
        "deit_tiny, 50% of the MLPs go",
        f"{dense:.1f}",
        top1["secateur obs: secateur, compensated"],
        f"GRAIL {own[best]:.1f} ({best.removeprefix('GRAIL ').partition(':')[0]}; "
        f"{top1['secateur obs: GRAIL']} on the units that secateur chose)",
    )


def _modelopt(results: Path) -> Iterable[Sequence[str]]:
    """Graphs in int8 of DeiT-Tiny, dense and with half of its MACs, from the same fp32 graph."""
    runs = read_json(results / "eight_bits.json", "eight_bits")["runs"]
    for part, words in (("dense", "dense"), ("half", "pruned to half")):
        graphs = runs[f"{QUANTIZED}, {part}"]["graphs"]
        best = max(
            (name for name in graphs if name.startswith("ModelOpt")), key=lambda name: float(graphs[name]["top1"])
        )
        yield (
            f"deit_tiny {words}, in int8",
            f"{graphs['fp32']['top1']:.1f} (fp32)",
            f"{graphs['secateur int8']['top1']:.1f}",
            f"ModelOpt 0.47 {graphs[best]['top1']:.1f} ({best.removeprefix('ModelOpt ')})",
        )
