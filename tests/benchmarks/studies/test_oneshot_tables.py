"""The README's tables of one-shot pruning, from files of known content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from secateur_studies.oneshot_tables import (
    deit_by_part,
    deit_by_way,
    deit_grid,
    latency_plan,
    peers_best,
    peers_oneshot,
)

from secateur.core.files import write_json


def row(part: str, removed: float, score: str, way: str, top1: float, **options: str) -> dict[str, Any]:
    allocate, repair = way.split(", ")
    row = {"part": part, "removed": removed, "score": score, "allocate": allocate, "repair": repair}
    return {**row, "options": options, "top1": top1, "share_of_dense": top1 / 80}


ROWS = [
    row("query/key", 0.5, "obs", "knapsack, compensate", 78.0),
    row("MLP", 0.5, "obs", "knapsack, compensate", 72.0),
    row("MLP", 0.25, "obs", "knapsack, front to back", 76.0),
    row("MLP", 0.5, "xmask", "knapsack, compensate", 68.0),
    row("MLP", 0.5, "taylor", "global, compensate", 60.0),
    row("MLP", 0.5, "taylor", "global, none", 20.0),
    row("MLP", 0.5, "taylor", "knapsack, none", 25.0),
    row("MLP", 0.5, "obs", "global, compensate", 70.0, metric="trace"),
]


def test_each_part_has_a_line_with_the_published_numbers(tmp_path: Path) -> None:
    write_json(tmp_path / "deit_oneshot.json", "deit_oneshot", {"rows": ROWS})
    head, lines = deit_by_part(tmp_path)
    both = ("`obs`, front to back", "`xmask`, front to back")
    assert head[:6] == ("MACs that go", *both, "`obs`", "`xmask`", "`taylor`")
    assert [tuple(line)[:6] for line in lines] == [
        ("25% of the MLPs", "95.0%", "-", "-", "-", "-"),
        ("50% of the MLPs", "-", "-", "90.0%", "85.0%", "75.0%"),
        ("50% of the query/key dims", "-", "-", "97.5%", "-", "-"),
    ]
    assert [line[-1] for line in lines] == ["", "CORP 76.7 %, OB2C 78.1 %", "CORP 89.0 %"]


def test_each_score_has_a_line_and_each_way_a_column(tmp_path: Path) -> None:
    write_json(tmp_path / "deit_oneshot.json", "deit_oneshot", {"rows": ROWS})
    head, lines = deit_by_way(tmp_path)
    assert head == ("half of the MLPs", "global, no repair", "global, compensated", "knapsack, compensated")
    assert lines == [
        ("`obs`", "-", "-", "72.0"),
        ("`xmask`", "-", "-", "68.0"),
        ("`taylor`", "20.0", "60.0", "-"),
        ("`obs`, metric trace", "-", "70.0", "-"),
    ]


def test_the_grid_has_a_line_for_each_part_and_score(tmp_path: Path) -> None:
    write_json(tmp_path / "deit_oneshot.json", "deit_oneshot", {"rows": ROWS})
    head, lines = deit_grid(tmp_path)
    assert head[2:5] == ("global, no repair", "knapsack, no repair", "global, compensated")
    assert lines[0] == ("25% of the MLPs", "`obs`", "-", "-", "-", "-", "76.0")
    assert [line[:2] for line in lines[1:]] == [
        ("50% of the MLPs", "`obs`"),
        ("50% of the MLPs", "`xmask`"),
        ("50% of the MLPs", "`taylor`"),
        ("50% of the MLPs", "`obs`, metric trace"),
        ("50% of the query/key dims", "`obs`"),
    ]


def test_both_sides_stand_in_one_table(tmp_path: Path) -> None:
    ours = {"side": "secateur", "score": "obs", "ranking": "knapsack", "repair": "compensate", "units": "same"}
    theirs = {"side": "torch-pruning", "score": "taylor", "ranking": "uniform", "repair": "none", "units": "all"}
    rows = [
        {"task": "resnet56", "removed": 0.5, "epochs": 0, **ours, "top1": 90.0},
        {"task": "resnet56", "removed": 0.5, "epochs": 2, **ours, "top1": 91.25},
        {"task": "resnet56", "removed": 0.5, "epochs": 0, **theirs, "error": "RuntimeError: no"},
    ]
    write_json(tmp_path / "peers_oneshot.json", "peers_oneshot", {"dense": {"resnet56": {"top1": 93.9}}, "rows": rows})
    head, lines = peers_oneshot(tmp_path)
    assert list(head)[1:] == ["resnet56 -50% (dense 93.9)", "resnet56 -50%, 2 epochs (dense 93.9)"]
    assert lines == [
        ("secateur: obs, knapsack, compensate", "90.0", "91.2"),
        ("torch-pruning: taylor, uniform, any layer", "error", "-"),
    ]


def test_the_best_of_the_peer_stands_beside_ours(tmp_path: Path) -> None:
    ours = {"task": "resnet56", "removed": 0.5, "epochs": 0, "side": "secateur", "score": "taylor", "units": "same"}
    theirs = {**ours, "side": "torch-pruning", "repair": "none"}
    rows = [
        {**ours, "ranking": "global", "repair": "none", "top1": 30.0},
        {**ours, "ranking": "global", "repair": "compensate", "top1": 86.0},
        {**theirs, "score": "hessian", "ranking": "uniform", "top1": 40.0},
        {**theirs, "score": "magnitude", "ranking": "isomorphic", "units": "all", "top1": 50.0},
        {**theirs, "ranking": "uniform", "error": "RuntimeError: no"},
    ]
    write_json(tmp_path / "peers_oneshot.json", "peers_oneshot", {"dense": {"resnet56": {"top1": 93.9}}, "rows": rows})
    head, lines = peers_best(tmp_path)
    assert head[1:4] == ("`obs`, compensated", "`taylor`, compensated", "`taylor`, no repair")
    assert lines == [("resnet56 -50% (dense 93.9)", "-", "86.0", "30.0", "50.0 (magnitude, isomorphic, any layer)")]


def test_a_latency_is_told_with_its_interval(tmp_path: Path) -> None:
    measured = {"share": 0.64, "low": 0.6, "high": 0.7}
    content = {"asked_share_of_dense": 0.6, "predicted_share_of_dense": 0.598, "measured_share_of_dense": measured}
    table = {"table": {"target": "onnxruntime:cpu"}, "off_by": -0.0656}
    write_json(tmp_path / "latency_plan.json", "latency_plan", {**content, **table})
    _, lines = latency_plan(tmp_path)
    assert lines == [("DeiT-Tiny on `onnxruntime:cpu`", "60.0%", "59.8%", "64.0% [60.0%, 70.0%]", "-6.6%")]
