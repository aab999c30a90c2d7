"""The README's small table beside other projects, from files of known content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from secateur_studies.beside_tables import beside

from secateur.core.files import write_json

WAY = {"score": "obs", "ranking": "knapsack", "repair": "compensate"}


def one_shot(task: str, epochs: int, side: str, top1: float, **other: Any) -> dict[str, Any]:
    return {"task": task, "removed": 0.5, "epochs": epochs, "side": side, "top1": top1, "macs": 72, **WAY, **other}


def write_results(folder: Path) -> None:
    peer = {"score": "taylor", "ranking": "uniform", "repair": "none"}
    rows = [
        row
        for task, epochs in (("deit_tiny", 0), ("resnet56", 0), ("resnet56", 2))
        for row in (
            one_shot(task, epochs, "secateur", 70.0 + epochs),
            one_shot(task, epochs, "secateur", 99.0, score="taylor"),  # not the default way
            one_shot(task, epochs, "torch-pruning", 20.0, **peer),
            one_shot(task, epochs, "torch-pruning", 30.0, **{**peer, "score": "magnitude"}),
        )
    ]
    rows.append({**rows[2], "removed": 0.25, "top1": 88.0})  # another share
    rows.append({key: value for key, value in rows[2].items() if key != "top1"})  # it could not
    dense = {"deit_tiny": {"top1": 81.7, "macs": 100}, "resnet56": {"top1": 93.9, "macs": 100}}
    write_json(folder / "peers_oneshot.json", "peers_oneshot", {"dense": dense, "rows": rows})
    cell = {"task": "deit_tiny", "part": "MLP", "removed": 0.5}
    grail = [
        {**cell, "selection": f"GRAIL {name}", "repair": "GRAIL", **found}
        for name, found in {"wanda": {"top1": 64.9}, "folding": {"top1": 7.5}, "obs": {"error": "no"}}.items()
    ]
    chosen = {**cell, "selection": "secateur obs", "repair": "GRAIL", "top1": 73.4}
    write_json(folder / "peers_frontier.json", "peers_frontier", {"dense": dense, "rows": [*grail, chosen]})
    ours = {"part": "MLP", "removed": 0.5, "score": "obs", "allocate": "knapsack", "options": {}}
    write_json(
        folder / "deit_oneshot.json",
        "deit_oneshot",
        {"rows": [{**ours, "repair": "compensate", "top1": 74.0}]},
    )
    graphs = {
        "fp32": {"top1": 81.7},
        "secateur int8": {"top1": 82.3},
        "ModelOpt max": {"top1": 81.6},
        "ModelOpt entropy": {"top1": 81.8},
    }
    runs = {f"deit_tiny_patch16_224, {part}": {"graphs": graphs} for part in ("dense", "half")}
    write_json(folder / "eight_bits.json", "eight_bits", {"runs": runs})


def test_our_default_way_stands_beside_the_best_of_each_other(tmp_path: Path) -> None:
    write_results(tmp_path)
    head, lines = beside(tmp_path)
    assert [len(line) for line in lines] == [len(head)] * 6
    assert [tuple(line) for line in lines] == [
        ("deit_tiny, 28% of all MACs go", "81.7", "70.0", "Torch-Pruning 1.6.1 30.0 (magnitude, uniform)"),
        ("resnet56, 28% of all MACs go", "93.9", "70.0", "Torch-Pruning 1.6.1 30.0 (magnitude, uniform)"),
        (
            "resnet56, 28% of all MACs go, then 2 epochs",
            "93.9",
            "72.0",
            "Torch-Pruning 1.6.1 30.0 (magnitude, uniform)",
        ),
        (
            "deit_tiny, 50% of the MLPs go",
            "81.7",
            "74.0",
            "GRAIL 64.9 (wanda; 73.4 on the units that secateur chose)",
        ),
        ("deit_tiny dense, in int8", "81.7 (fp32)", "82.3", "ModelOpt 0.47 81.8 (entropy)"),
        ("deit_tiny pruned to half, in int8", "81.7 (fp32)", "82.3", "ModelOpt 0.47 81.8 (entropy)"),
    ]
