"""Samples first: moved there and back, wherever they lie."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from secateur.pipeline.structure.samples import FIRST, Samples

SIZES = st.integers(1, 4)


@given(count=SIZES, before=SIZES, after=SIZES, lead=st.lists(SIZES, max_size=2), tail=st.lists(SIZES, max_size=2))
def test_samples_come_first_and_go_back(count: int, before: int, after: int, lead: list[int], tail: list[int]) -> None:
    tensor = torch.randn(*lead, before * count * after, *tail)
    samples = Samples(len(lead), None if before == 1 else after)
    found = samples.first(tensor, count)
    if samples == FIRST:
        assert found is tensor
        return
    assert len(found) == count and found.shape[found.ndim - len(tail) :] == tensor.shape[len(lead) + 1 :]
    rows = tensor.movedim(len(lead), 0)
    for number in range(count):
        own = [block * count * after + number * after + place for block in range(before) for place in range(after)]
        assert sorted(found[number].flatten().tolist()) == sorted(rows[own].flatten().tolist())
    assert torch.equal(samples.back(found, tensor, count), tensor)
