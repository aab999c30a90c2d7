"""The table of one-shot pruning beside GRAIL and SnapViT, from files of known content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from secateur_studies.peers_frontier_tables import peers_frontier

from secateur.core.files import write_json


def ours(part: str, removed: float, repair: str, top1: float, **other: Any) -> dict[str, Any]:
    usual = {"score": "obs", "allocate": "knapsack", "options": {}}
    return {"part": part, "removed": removed, "repair": repair, "top1": top1, **usual, **other}


def theirs(part: str, selection: str, repair: str, task: str = "deit_tiny", **found: Any) -> dict[str, Any]:
    return {"task": task, "part": part, "removed": 0.5, "selection": selection, "repair": repair, **found}


def test_each_selection_and_repair_has_a_line_and_each_budget_a_column(tmp_path: Path) -> None:
    rows = [
        theirs("MLP", "SnapViT", "none", top1=10.0),
        theirs("MLP", "SnapViT", "compensate", top1=60.0),
        theirs("MLP", "GRAIL wanda", "GRAIL", top1=50.0),
        theirs("both", "GRAIL wanda", "GRAIL", error="it cuts MLPs alone"),
        theirs("MLP", "secateur obs", "GRAIL", top1=70.0),
        theirs("all", "secateur obs", "compensate", task="resnet56", top1=90.0),
    ]
    dense = {"deit_tiny": {"top1": 81.7}, "resnet56": {"top1": 93.9}}
    write_json(tmp_path / "peers_frontier.json", "peers_frontier", {"dense": dense, "rows": rows})
    there = [
        ours("MLP", 0.25, "compensate", 78.0),  # a budget that the peers were not measured at
        ours("MLP", 0.5, "compensate", 1.0, options={"metric": "trace"}),
        ours("MLP", 0.5, "compensate", 2.0, score="taylor"),
        ours("MLP", 0.5, "compensate", 3.0, allocate="uniform"),
        ours("MLP", 0.5, "compensate", 74.0),
        ours("both", 0.5, "front to back", 68.5),
    ]
    write_json(tmp_path / "deit_oneshot.json", "deit_oneshot", {"rows": there})
    head, lines = peers_frontier(tmp_path)
    tiny = [f"deit_tiny, 50% {part} (dense 81.7)" for part in ("of the MLPs", "of both")]
    assert list(head) == ["units chosen by: repaired by", *tiny, "resnet56, 50% of all (dense 93.9)"]
    assert [tuple(line) for line in lines] == [
        ("secateur obs: GRAIL", "70.0", "-", "-"),
        ("secateur obs: secateur, compensated", "74.0", "-", "90.0"),
        ("secateur obs: secateur, front to back", "-", "68.5", "-"),
        ("GRAIL wanda: GRAIL", "50.0", "cannot", "-"),
        ("SnapViT: secateur, compensated", "60.0", "-", "-"),
        ("SnapViT: nothing", "10.0", "-", "-"),
    ]
