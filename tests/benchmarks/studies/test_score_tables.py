"""The README's tables of scores, from files of known content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from secateur_studies.score_tables import a_pr_table, cnn_a_pr, relevance_speed, transformer_a_pr

from secateur.core.files import write_json

ROWS: list[dict[str, Any]] = [
    {"task": "three/0", "units": "heads", "method": "random", "a_pr": 60.0},
    {"task": "three/0", "units": "heads", "method": "lrp", "a_pr": 80.0},
    {"task": "three/1", "units": "heads", "method": "random", "a_pr": 70.0},
    {"task": "resnet on cifar10", "units": "channels", "method": "lrp", "a_pr": 50.25},
]


def test_draws_and_seeds_are_averaged_and_gaps_are_dashes(tmp_path: Path) -> None:
    head, rows = a_pr_table({"rows": ROWS})
    assert head == ("A_PR (%)", "three classes: heads", "resnet on cifar10: channels")
    assert rows == [("random", "65.0", "-"), ("lrp", "80.0", "50.2")]
    for table, name in ((transformer_a_pr, "pxp_protocol"), (cnn_a_pr, "cnn_curves")):
        write_json(tmp_path / f"{name}.json", name, {"rows": ROWS})
        assert table(tmp_path) == (head, rows)


def test_both_sides_of_a_comparison_stand_beside_each_other(tmp_path: Path) -> None:
    sides = {
        "ours": {"images_per_second": 10.04, "peak_bytes": 2e8},
        "theirs": {"images_per_second": 5.0, "peak_bytes": 4.004e8},
    }
    row = {**sides, "times_faster": {"ratio": 2.01, "low": 1.5, "high": 2.54}}
    write_json(tmp_path / "lrp_speed.json", "lrp_speed", {"rows": {"resnet18, zennit, epsilon": row}})
    _, rows = relevance_speed(tmp_path)
    assert rows == [("resnet18, zennit, epsilon", "10.0", "5.0", "2.0 [1.5, 2.5]", "200 MB", "400 MB")]
