"""Masks: their penalties against sums written from the definitions, whole and at a low rank."""

from __future__ import annotations

from itertools import pairwise
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.pipeline.scores.xmask.masks import Masks
from secateur.pipeline.scores.xmask.method import Smooth
from secateur.pipeline.structure.groups import Group


def groups() -> list[Group]:
    return [Group("mlp", "mlp_hidden", 7, ()), Group("qk", "qk_dim", 8, (), blocks=2), Group("pair", "head", 2, ())]


def random_masks(classes: int, rank: int, seed: int) -> Masks:
    masks = Masks(groups(), classes, rank, seed)
    generator = torch.Generator().manual_seed(seed)
    for parameter in masks.parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn(parameter.shape, generator=generator)
    return masks


def slow_roughness(masks: Masks, smooth: Smooth) -> float:
    total = 0.0
    for group in groups():
        rows = masks.every()[group.name].tolist()
        width = group.units // group.blocks
        if smooth == "classes":
            gaps = [b - a for one, other in pairwise(rows) for a, b in zip(one, other, strict=True)]
            total += sum(gap**2 for gap in gaps) / max(len(rows) - 1, 1)
        else:
            for row in rows:
                for start in range(0, group.units, width):
                    head = row[start : start + width]
                    total += sum((head[i - 1] - 2 * head[i] + head[i + 1]) ** 2 for i in range(1, width - 1)) / len(
                        rows
                    )
    return total


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(0, 3), st.integers(0, 99))
def test_penalties_are_their_definitions(classes: int, rank: int, seed: int) -> None:
    masks = random_masks(classes, rank, seed)
    for smooth in get_args(Smooth):
        assert masks.roughness(smooth).item() == pytest.approx(slow_roughness(masks, smooth), rel=1e-4, abs=1e-4)
    squares = sum(value.square().sum().item() for value in masks.every().values())
    assert masks.sparsity().item() == pytest.approx(squares / classes, rel=1e-4)


@pytest.mark.parametrize("rank", [0, 2])
def test_masks_change_nothing_at_first_and_rows_are_those_of_the_labels(rank: int) -> None:
    masks = Masks(groups(), 4, rank, 0)
    assert all(bool((value == 1).all()) for value in masks.every().values())
    masks = random_masks(4, rank, 1)
    rows = masks.rows(torch.tensor([2, 0, 2]))
    for name, value in masks.every().items():
        torch.testing.assert_close(rows[name], value[[2, 0, 2]])
    assert {name: value.shape[1] for name, value in rows.items()} == {"mlp": 7, "qk": 8, "pair": 2}


def test_a_low_rank_holds_fewer_numbers_and_its_start_depends_on_the_seed() -> None:
    def size(masks: Masks) -> int:
        return sum(part.numel() for part in masks.parameters() if part.requires_grad)

    assert size(Masks(groups(), 50, 0, 0)) == 50 * 17
    assert size(Masks(groups(), 50, 2, 0)) == 50 * 2 + 2 * 17 + 17
    one, same, other = (Masks(groups(), 50, 2, seed).of_classes for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
