"""Which rows of one-shot pruning there are, and how processes share them."""

from __future__ import annotations

from dataclasses import asdict, replace

import click
import pytest
from secateur_studies.deit_oneshot import GRID, MEASURING, PARTS, Row, _once, _there, alike, rows, share_of
from torch import Tensor, nn

from secateur.pipeline.plan.objective import divergence
from secateur.pipeline.recover.fast_repair import FastRepair
from secateur.pipeline.structure.groups import Groups


def test_every_score_meets_every_allocation_and_repair() -> None:
    there = set(map(repr, rows()))
    for part in ("MLP", "attention", "both"):
        for removed in (0.25, 0.5, 0.75):
            for name in GRID:
                for allocate in ("uniform", "global", "knapsack"):
                    same = part == "attention" and allocate == "uniform"
                    assert repr(Row(part, removed, "obs" if same else name, allocate, "compensate")) in there
                    assert repr(Row(part, removed, name, allocate, "none")) in there
                for allocate in MEASURING:
                    same = part == "attention" and allocate == "sensitivity"
                    assert repr(Row(part, removed, "obs" if same else name, allocate, "compensate")) in there
                    assert repr(Row(part, removed, name, allocate, "none")) in there


def test_a_share_is_one_of_several() -> None:
    assert share_of("2/3") == (2, 3)
    for text in ("2", "0/2", "3/2", "a/b", "1/", "-1/2"):
        with pytest.raises(click.UsageError, match="must be K/N"):
            share_of(text)


def test_each_row_is_measured_once() -> None:
    every = list(_once(rows()))
    assert len({repr(row) for row in every}) == len(every) < len(list(rows()))
    first, second = every[:2]
    content = {"rows": [{**asdict(first), "top1": 70.0}]}
    assert _there(first, content)
    assert not _there(second, content)
    assert not _there(replace(first, options={"metric": "trace"}), content)


@pytest.mark.parametrize("name", ["blocks.0.attn.qk", "blocks.0.attn.v"])
def test_repaired_heads_are_alike_whichever_dimensions_stay(
    name: str, vit: nn.Module, vit_groups: Groups, batches: list[tuple[Tensor, Tensor]]
) -> None:
    kept = {name: (1, 8, 11, 19, 25, 31, 32, 36, 37)}
    same = alike(vit_groups, kept)
    assert same == {name: (0, 1, 2, 16, 17, 18, 32, 33, 34)}
    objective = divergence(vit, vit_groups, batches, FastRepair(vit, vit_groups, PARTS["both"], batches))
    assert objective(kept) == pytest.approx(objective(same), rel=1e-4)


def test_what_repair_does_not_mix_stays_as_it_is(vit_groups: Groups) -> None:
    uneven = {"blocks.0.attn.v": (1, 17, 18), "blocks.0.mlp.hidden": (5, 7, 9)}
    assert alike(vit_groups, uneven) == uneven
