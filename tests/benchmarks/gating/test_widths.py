"""Widths that pruning has left: found in real models, and judged by what they are multiples of."""

from __future__ import annotations

from dataclasses import replace

import pytest
from torch import nn

from secateur.benchmarks.gate import judge
from secateur.benchmarks.gating.widths import cut_widths
from secateur.benchmarks.limits import Limits
from tests.benchmarks.samples import result


def net(hidden: int, channels: int = 8) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, channels, 3), nn.BatchNorm2d(channels), nn.Linear(16, hidden), nn.Linear(hidden, 4)
    )


def test_the_widths_that_were_cut_are_named() -> None:
    assert cut_widths(net(32), net(32)) == {}
    assert cut_widths(net(32), net(21)) == {"2": (21,), "3": (21,)}
    assert cut_widths(net(32), net(24, channels=5)) == {"0": (5,), "2": (24,), "3": (24,)}


def test_unaligned_widths_fail_with_their_names() -> None:
    found = replace(result(1.6), widths=cut_widths(net(32), net(21, channels=4)))
    (check,) = judge(found, None, Limits(align=8)).checks
    assert (check.name, check.outcome, check.value, check.limit) == ("widths", "fail", 0, 3)
    assert check.sentence == (
        "3 of 3 widths that were cut are no multiples of 8 (0 4, 2 21, 3 21): prune with plan.align: 8"
    )
    assert judge(found, None, Limits(align=4)).checks[0].value == 1
    assert judge(replace(found, widths={"a": (24, 16)}), None, Limits(align=8)).outcome == "pass"


@pytest.mark.parametrize(("speedup", "noted"), [(1.0, 1), (1.6, 0)])
def test_they_are_noted_where_a_candidate_is_not_fast_enough(speedup: float, noted: int) -> None:
    found = replace(result(speedup), widths={f"blocks.{place}.fc": (21,) for place in range(5)})
    notes = judge(found, None, Limits(min_speedup=1.3)).notes
    assert len(notes) == noted
    assert all("(blocks.0.fc 21, blocks.1.fc 21, blocks.2.fc 21 and 2 more), which may be why" in one for one in notes)
