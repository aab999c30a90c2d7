"""Shuffled images: every one once, in an order that the seed decides and batches do not."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from secateur.pipeline.data import shuffled as module
from secateur.pipeline.data.shuffled import shuffled


def numbered(count: int, batch: int) -> list[tuple[Tensor, Tensor]]:
    """Images that hold their number, which is also their label."""
    parts = torch.arange(count).split(batch)
    return [(part.float().reshape(-1, 1, 1, 1), part) for part in parts]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 9), st.integers(1, 50), st.integers(0, 9))
def test_every_image_comes_once_whatever_the_batches(count: int, given_: int, asked: int, held: int, seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "HELD", held)
        found = list(shuffled(numbered(count, given_), asked, (seed, 1)))
        again = list(shuffled(numbered(count, count), asked, (seed, 1)))
    assert [len(labels) for _, labels in found][:-1] == [asked] * (len(found) - 1)
    order = torch.cat([labels for _, labels in found])
    assert sorted(order.tolist()) == list(range(count))
    assert torch.equal(order, torch.cat([images.flatten() for images, _ in found]).long())
    assert torch.equal(order, torch.cat([labels for _, labels in again]))
    assert all(order[place] <= place + held for place in range(count))  # no more than that many were held


def test_the_seed_decides_the_order() -> None:
    orders = [
        torch.cat([labels for _, labels in shuffled(numbered(30, 7), 4, seed)]).tolist() for seed in ((0, 0), (0, 1))
    ]
    assert orders[0] != orders[1]
    assert orders[0] != list(range(30))
