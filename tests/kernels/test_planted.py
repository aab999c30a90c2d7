"""Mistakes planted in the kernels are caught: missing barriers as races, a step too far by ASan or by the values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from secateur.kernels.heads import HeadLayout
from secateur.kernels.variants import RAGGED_TILES, attention_launch
from tests.kernels.reference import TOLERANCE, Array, attention, drawn, error_of, poisoned

LAYOUT = HeadLayout((16, 8), (8, 24), 0.5)
TOKENS = 70
MISTAKES = {
    "no barrier before a tile is read": ("__syncthreads();  // tile has arrived for all threads", "", "race"),
    "no barrier before a tile is overwritten": ("__syncthreads();  // all warps have read this stage", "//", "race"),
    "no barrier before the results meet": ("__syncthreads();  // all partial results are there", "", "race"),
    "a barrier that one warp skips": ("__syncthreads();  // all partial", "if (warp) __syncthreads();  //", "race"),
    "a copy that is not waited for": ("copy_wait<1>();", "copy_wait<2>();", "wrong"),
    "a row read too far": ("inside = first + r < rows.tokens;", "inside = first + r <= rows.tokens;",
                           "AddressSanitizer"),
    "a row written too far": ("if (first_row + r >= rows.tokens ||", "if (first_row + r > rows.tokens ||",
                              "AddressSanitizer"),
    "a key too many": ("logit = j < rows.tokens ?", "logit = j <= rows.tokens ?", "wrong"),
    "an output column left out": ("chunk * 8 >= head.v) continue;", "chunk * 8 >= head.v - 8) continue;", "wrong"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_planted_mistake_is_caught(emulate_changed: Callable[..., list[Array]], name: str) -> None:
    old, new, expected = MISTAKES[name]
    qkv = drawn(0, (1, TOKENS, LAYOUT.row_width), "fp16")
    launch = attention_launch("ragged_attention", RAGGED_TILES[0], LAYOUT, "fp16", 1, TOKENS)
    arguments = [qkv, None, None, 0, None, 0, None, np.array(LAYOUT.table, np.int32), TOKENS]
    out = poisoned((1, TOKENS, LAYOUT.out_width), "fp16")
    if expected == "wrong":
        out = emulate_changed(launch, [*arguments, out], "attention_mma.cuh", old, new)[-1]
        assert error_of(out, attention(qkv, LAYOUT)) > 2 * TOLERANCE["fp16"]
    else:
        with pytest.raises(RuntimeError, match=expected):
            emulate_changed(launch, [*arguments, out], "attention_mma.cuh", old, new)
