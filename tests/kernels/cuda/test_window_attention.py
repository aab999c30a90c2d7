"""Every variant of window_attention, emulated, against roll, partition, attention, reverse and roll in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secateur.kernels.heads import HeadLayout
from secateur.kernels.variants import WINDOW_TILES, Tile, attention_launch
from tests.kernels.reference import TOLERANCE, Array, drawn, error_of, poisoned, window_attention

Run = Callable[..., list[Array]]


@pytest.mark.parametrize(
    ("tile", "dtype"),
    [(t, d) for t in WINDOW_TILES for d in ("fp32", "fp16", "bf16") if not t.tensor_cores or d != "fp32"],
    ids=lambda value: value.suffix if isinstance(value, Tile) else value,
)
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_matches_float64(emulate: Run, tile: Tile, dtype: str, data: st.DataObject) -> None:
    window = data.draw(st.sampled_from([(7, 7), (2, 3), (4, 4), (8, 8)]), "window")
    size = tuple(data.draw(st.integers(1, 2), "windows") * n for n in window)
    shift = tuple(
        data.draw(st.sampled_from([0, n // 2]), "shift") if s > n else 0 for n, s in zip(window, size, strict=True)
    )
    widths = data.draw(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=2), "widths")
    layout = HeadLayout(tuple(a for a, _ in widths), tuple(b for _, b in widths), 0.2)
    seed, batch, tokens = data.draw(st.integers(0, 2**31), "seed"), 1 + len(widths) % 2, window[0] * window[1]
    qkv = drawn(seed, (batch, *size, layout.row_width), dtype)
    bias = drawn(seed + 1, (layout.heads, tokens, tokens), dtype) if data.draw(st.booleans(), "bias") else None
    windows = batch * size[0] * size[1] // tokens
    launch = attention_launch("window_attention", tile, layout, dtype, windows, tokens)
    out = poisoned((batch, *size, layout.out_width), dtype)
    table = np.array(layout.table, np.int32)
    arguments = [qkv, None, bias, layout.heads, table, *size, *window, *shift, out]
    result = emulate(launch, arguments)[-1]
    assert error_of(result, window_attention(qkv, layout, window, shift, bias)) < TOLERANCE[dtype]
