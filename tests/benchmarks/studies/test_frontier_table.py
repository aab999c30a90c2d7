"""The table of the frontier, from a file of known content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from secateur_studies.frontier_table import frontier

from secateur.core.files import write_json


def row(way: str, top1: float, **other: Any) -> dict[str, Any]:
    usual = {"task": "a", "part": "both", "removed": 0.5, "share_of_dense": top1 / 80, "cpu_seconds": 0.1}
    return {**usual, "way": way, "top1": top1, **other}


def test_each_way_has_a_line_with_the_mean_of_its_seeds(tmp_path: Path) -> None:
    rows = [
        row("closed form", 60.0),
        row("reconstructed", 70.0, before=0.5, after=0.3, cpu_seconds=500),
        row("reconstructed", 72.0, before=0.7, after=0.5, cpu_seconds=700),
        row("distilled", 64.0, part="MLP", cpu_seconds=900.4),
    ]
    write_json(tmp_path / "frontier.json", "frontier", {"dense": {"a": {"top1": 80.0}}, "rows": rows})
    _, lines = frontier(tmp_path)
    assert [tuple(line) for line in lines] == [
        ("a (dense 80.0)", "50% of both", "closed form", "60.0", "75.0%", "-", "-"),
        ("a (dense 80.0)", "50% of both", "reconstructed", "71.0", "88.8%", "0.600 -> 0.400", "600"),
        ("a (dense 80.0)", "50% of the MLPs", "distilled", "64.0", "80.0%", "-", "900"),
    ]
