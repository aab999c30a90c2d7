"""The README's tables of masks and of models for some classes, from files of known content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from secateur_studies.xpruner_tables import class_specialised, curves_of, curves_table, variants_of

from secateur.core.files import write_json

DENSE = {"top1": 80.04, "images": 1000}


def row(way: str, macs: float, seed: int, **found: float) -> dict[str, Any]:
    return {"way": way, "macs": macs, "seed": seed, **found}


def test_seeds_are_averaged_with_their_extremes_and_budgets_go_down(tmp_path: Path) -> None:
    rows = [
        row("taylor", 0.4, 0, top1=10.0, top1_compensated=50.0),
        row("taylor", 0.6, 0, top1=20.0, top1_compensated=60.0),
        row("taylor", 0.6, 1, top1=30.0, top1_compensated=70.04),
        row("xmask", 0.6, 0, top1=5.0, top1_compensated=6.0),
    ]
    write_json(tmp_path / "xpruner_ten.json", "xpruner_curves", {"dense": DENSE, "rows": rows})
    head, lines = curves_of("ten")(tmp_path)
    assert head == ("MACs kept (dense: 80.0 % on 1,000 images)", "score", "removed", "compensated")
    assert lines == [
        ("60%", "taylor", "25.0 [20.0, 30.0]", "65.0 [60.0, 70.0]"),
        ("60%", "xmask", "5.0", "6.0"),
        ("40%", "taylor", "10.0", "50.0"),
    ]


def test_variants_stand_beside_plain_masks_at_their_budget_only(tmp_path: Path) -> None:
    ways = [("taylor", 0.4), ("xmask", 0.4), ("xmask", 0.6), ("xmask, rank 2", 0.4)]
    rows = [row(way, macs, 0, top1=10.0 * number) for number, (way, macs) in enumerate(ways)]
    write_json(tmp_path / "xpruner_swin.json", "xpruner_curves", {"dense": DENSE, "rows": rows})
    assert variants_of("swin")(tmp_path)[1] == [("40%", "xmask", "10.0"), ("40%", "xmask, rank 2", "30.0")]
    assert [line[:2] for line in curves_of("swin")(tmp_path)[1]] == [
        ("60%", "xmask"),
        ("40%", "taylor"),
        ("40%", "xmask"),
    ]


def test_a_row_without_tuning_has_a_dash() -> None:
    rows = [row("a", 0.5, 0, top1=1.0, top1_tuned=2.0), row("b", 0.5, 0, top1=3.0)]
    assert curves_table({"dense": DENSE, "rows": rows})[1] == [("50%", "a", "1.0", "2.0"), ("50%", "b", "3.0", "-")]


def test_the_dense_model_stands_once_above_the_budgets(tmp_path: Path) -> None:
    def side(top1: float, macs: float, p50: float) -> dict[str, Any]:
        return {"top1": top1, "macs": macs, "params": macs / 200, "latency_ms": {"onnxruntime:cpu": {"p50": p50}}}

    rows = [
        {
            "macs_kept": share,
            "epochs": epochs,
            "bench": {
                "dense": side(99.0, 1e9, 40.0),
                "pruned": side(98.04, 1e9 * share, 40.0 * share),
                "speedup": {"onnxruntime:cpu": {"ratio": 1 / share, "low": 1.0, "high": 3.0}},
            },
        }
        for share, epochs in ((0.5, 0), (0.4, 1))
    ]
    write_json(tmp_path / "class_specialised.json", "class_specialised", {"rows": rows})
    distilled = "compensated and distilled"
    assert class_specialised(tmp_path)[1] == [
        ("all", "", "99.0 %", "1000 M", "5.00 M", "", "", ""),
        ("50%", "compensated", "98.0 %", "500 M", "2.50 M", "40.0 ms", "20.0 ms", "2.00 [1.00, 3.00]"),
        ("40%", distilled, "98.0 %", "400 M", "2.00 M", "40.0 ms", "16.0 ms", "2.50 [1.00, 3.00]"),
    ]
