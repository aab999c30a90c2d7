"""The head table and the errors of impossible heads."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.core.errors import KernelError
from secateur.kernels.heads import HeadLayout

HEADER_WORDS, HEAD_WORDS = 4, 8  # of the table in kernels/cuda/attention.cuh

WIDTHS = st.lists(st.tuples(st.integers(1, 256), st.integers(1, 256)), min_size=1, max_size=6)


@given(WIDTHS)
def test_the_parts_of_a_row_follow_each_other(widths: list[tuple[int, int]]) -> None:
    """Writing each part's name into its place leaves no gap and no overlap, queries first, values last."""
    layout = HeadLayout(tuple(a for a, _ in widths), tuple(b for _, b in widths), 1.0)
    row, out = np.full(layout.row_width, -1), np.full(layout.out_width, -1)
    for head, (q, k, v, o) in enumerate(layout.offsets):
        qk_width, v_width = widths[head]
        for part, (at, width) in enumerate(((q, qk_width), (k, qk_width), (v, v_width))):
            assert np.all(row[at : at + width] == -1)
            row[at : at + width] = part
        out[o : o + v_width] = head
    assert np.all(np.diff(row) >= 0) and row[0] == 0 and row[-1] == 2
    assert np.all(np.diff(out) >= 0) and out[0] == 0
    assert layout.widest == max(max(pair) for pair in widths)


def test_the_table_holds_what_the_kernels_read() -> None:
    table = HeadLayout((16, 8), (8, 24), 0.3).table
    assert table[:3] == (2, 80, 32)
    assert struct.unpack("<f", struct.pack("<i", table[3]))[0] == pytest.approx(0.3)
    assert table[HEADER_WORDS:] == (16, 8, 0, 24, 48, 0, 3, 0, 8, 24, 16, 40, 56, 8, 3, 0)
    assert len(table) == HEADER_WORDS + 2 * HEAD_WORDS


@pytest.mark.parametrize(
    ("qk", "v", "flags"),
    [
        ((16, 8), (8, 24), [3, 3]),
        ((12, 8), (8, 24), [2, 2]),  # the first head is 12 wide, so the second begins at 12
        ((8, 8), (8, 4), [0, 0]),  # the row, 44, is no multiple of 8: nothing is aligned after the first token
        ((8, 4, 4), (4, 4, 8), [1, 0, 2]),
    ],
)
def test_packs_are_for_aligned_parts_only(qk: tuple[int, ...], v: tuple[int, ...], flags: list[int]) -> None:
    layout = HeadLayout(qk, v, 1.0)
    for head, (q_at, k_at, v_at, out_at) in enumerate(layout.offsets):
        qk_aligned = all(n % 8 == 0 for n in (qk[head], q_at, k_at, layout.row_width))
        v_aligned = all(n % 8 == 0 for n in (v[head], v_at, out_at, layout.row_width, layout.out_width))
        assert layout.table[HEADER_WORDS + HEAD_WORDS * head + 6] == qk_aligned + 2 * v_aligned
    assert [layout.table[HEADER_WORDS + HEAD_WORDS * head + 6] for head in range(len(qk))] == flags


def test_heads_of_equal_widths_come_together() -> None:
    assert HeadLayout((8, 4, 8), (8, 8, 8), 1.0).by_width() == {(8, 8): [0, 2], (4, 8): [1]}


@pytest.mark.parametrize(
    ("qk", "v", "message"),
    [
        ((), (), "there must be at least one head"),
        ((8, 8), (8,), "2 query/key widths and 1 value widths"),
        ((8, 0), (8, 8), "a head has the width 0"),
        ((8,), (257,), "a head has the width 257.*from 1 to 256"),
    ],
)
def test_impossible_heads_are_refused(qk: tuple[int, ...], v: tuple[int, ...], message: str) -> None:
    with pytest.raises(KernelError, match=message):
        HeadLayout(qk, v, 1.0)
