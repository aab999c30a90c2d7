"""The cost of compensation: what is extrapolated, and what memory is counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from secateur_studies.compensate_cost import PARTS, extrapolated, half_of, held_bytes, timed_parts
from torch import nn

from secateur.pipeline.recover.narrowed import narrowed_by
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.surgery import cut


@pytest.mark.parametrize(
    ("part", "seconds"),
    [
        ("statistics", lambda blocks, images: images * (0.1 + 0.02 * blocks)),
        ("solves", lambda blocks, images: 1.0 + 5.0 * blocks),
        ("front to back", lambda blocks, images: 3.0 * blocks + images * (0.1 + 0.02 * blocks)),
    ],
)
def test_times_that_grow_linearly_are_extrapolated_exactly(part: str, seconds: Callable[[int, int], float]) -> None:
    rows = [
        {"blocks": float(b), "images": float(i), "cpu_seconds": seconds(b, i) + noise}
        for b in (1, 2)
        for i in (8, 32)
        for noise in (-0.01, 0.01)
    ]
    assert extrapolated(rows, PARTS[part], 12, 1024) == pytest.approx(seconds(12, 1024))


def test_every_part_is_timed_and_the_statistics_are_square(vit: nn.Module, vit_groups: Groups) -> None:
    plan = half_of(vit_groups)
    assert {len(units) for units in plan.kept.values()} == {96}
    loader = [(torch.randn(4, 3, 16, 16), torch.zeros(4))]
    moments, seconds = timed_parts(cut(vit, vit_groups, plan), vit, narrowed_by(vit, vit_groups, plan), loader)
    assert set(moments) == {"blocks.0.mlp.fc2", "blocks.1.mlp.fc2"}
    assert len(seconds) == 3
    assert min(seconds) > 0
    assert held_bytes(moments["blocks.0.mlp.fc2"]) == 2 * (192 + 192 * 192) * 8
