"""Which rows of one-shot pruning there are, and how processes share them."""

from __future__ import annotations

from dataclasses import asdict, replace

from secateur.benchmarks.deit_oneshot import GRID, Row, _once, _there, rows


def test_every_score_meets_every_allocation_and_repair() -> None:
    there = set(map(repr, rows()))
    for part in ("MLP", "attention", "both"):
        for removed in (0.25, 0.5, 0.75):
            for name in GRID:
                for allocate in ("uniform", "global", "knapsack"):
                    same = part == "attention" and allocate == "uniform"
                    assert repr(Row(part, removed, "obs" if same else name, allocate, "compensate")) in there
                    assert repr(Row(part, removed, name, allocate, "none")) in there


def test_each_row_is_measured_once() -> None:
    every = list(_once(rows()))
    assert len({repr(row) for row in every}) == len(every) < len(list(rows()))
    first, second = every[:2]
    content = {"rows": [{**asdict(first), "top1": 70.0}]}
    assert _there(first, content)
    assert not _there(second, content)
    assert not _there(replace(first, options={"metric": "trace"}), content)
