"""Every variant of ragged_attention, emulated thread by thread, against float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secateur.kernels.heads import HeadLayout
from secateur.kernels.variants import RAGGED_TILES, Launch, Tile, attention_launch
from tests.kernels.reference import TOLERANCE, Array, attention, drawn, error_of, poisoned

Run = Callable[..., list[Array]]
CASES = [
    pytest.param(tile, dtype, id=f"{dtype}{tile.suffix}")
    for tile in RAGGED_TILES
    for dtype in ("fp32", "fp16", "bf16")
    if not tile.tensor_cores or dtype != "fp32"
]


def run_ragged(
    emulate: Run,
    tile: Tile,
    dtype: str,
    layout: HeadLayout,
    qkv: Array,
    extras: dict[str, Array | None] | None = None,
    order: int = 0,
    parts: int = 1,
) -> Array:
    extras = extras or {}
    batch, tokens, _ = qkv.shape
    launch: Launch = attention_launch("ragged_attention", tile, layout, dtype, batch, tokens, parts)
    bias, mask = extras.get("bias"), extras.get("mask")
    out = poisoned((batch, tokens, layout.out_width), dtype)
    table = np.array(layout.table, np.int32)
    biases, masks = (0 if array is None else len(array) for array in (bias, mask))
    arguments = [qkv, extras.get("qkv_bias"), bias, biases, mask, masks, table, tokens, out]
    return emulate(launch, arguments, order)[-1]


@pytest.mark.parametrize(("tile", "dtype"), CASES)
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_matches_float64(emulate: Run, tile: Tile, dtype: str, data: st.DataObject) -> None:
    heads = data.draw(st.integers(1, 3), "heads")
    widest = tile.widest if tile.widest < 256 else 200
    aligned = data.draw(st.booleans(), "aligned")
    width = st.integers(1, widest // 8).map(lambda n: 8 * n) if aligned else st.integers(1, widest)
    widths = data.draw(st.lists(st.tuples(width, width), min_size=heads, max_size=heads), "widths")
    layout = HeadLayout(tuple(a for a, _ in widths), tuple(b for _, b in widths), 0.25)
    batch = data.draw(st.integers(1, 2), "batch")
    tokens = data.draw(st.sampled_from([1, 2, 15, 16, 17, 31, 33, 63, 64, 65, 70]), "tokens")
    seed = data.draw(st.integers(0, 2**31), "seed")
    some: dict[str, tuple[int, ...]] = {
        "qkv_bias": (layout.row_width,),
        "bias": (data.draw(st.sampled_from([1, heads]), "bias heads"), tokens, tokens),
        "mask": (data.draw(st.integers(1, 2), "masks"), tokens, tokens),
    }
    chosen = data.draw(st.sets(st.sampled_from([*some])), "extras")
    extras: dict[str, Array | None] = {
        name: drawn(seed + n, some[name], dtype) for n, name in enumerate(some) if name in chosen
    }
    qkv = drawn(seed, (batch, tokens, layout.row_width), dtype)
    order, parts = data.draw(st.integers(0, 1), "order"), data.draw(st.sampled_from(tile.parts), "parts")
    out = run_ragged(emulate, tile, dtype, layout, qkv, extras, order, parts)
    assert error_of(out, attention(qkv, layout, **extras)) < TOLERANCE[dtype]


@pytest.mark.parametrize("tile", [tile for tile in RAGGED_TILES if tile.widest == 64], ids=lambda tile: tile.suffix)
def test_rows_and_tiles_that_are_masked_out(emulate: Run, tile: Tile) -> None:
    """Minus infinity for whole tiles, and for whole rows: zeros there, as PyTorch's safe softmax gives, and no NaN."""
    layout = HeadLayout((16, 8), (8, 24), 0.5)
    qkv, mask = drawn(0, (1, 70, layout.row_width), "fp16"), drawn(1, (1, 70, 70), "fp16")
    mask[:, 3] = -np.inf
    mask[:, 5, :66] = -np.inf
    out = run_ragged(emulate, tile, "fp16", layout, qkv, {"mask": mask})
    assert not out[:, 3].any()
    assert error_of(out, attention(qkv, layout, mask=mask)) < TOLERANCE["fp16"]


@pytest.mark.parametrize("tile", [tile for tile in RAGGED_TILES if tile.widest == 64], ids=lambda tile: tile.suffix)
def test_large_logits_do_not_overflow(emulate: Run, tile: Tile) -> None:
    layout = HeadLayout((64,), (64,), 1.0)
    qkv = drawn(0, (1, 66, layout.row_width), "fp16") * np.float16(20)
    assert error_of(run_ragged(emulate, tile, "fp16", layout, qkv), attention(qkv, layout)) < TOLERANCE["fp16"]


@pytest.mark.parametrize("scale", [0.0, -0.5])
@pytest.mark.parametrize("tile", [RAGGED_TILES[0], RAGGED_TILES[1]], ids=lambda tile: tile.suffix)
def test_a_scale_that_is_not_positive(emulate: Run, tile: Tile, scale: float) -> None:
    """The largest logit is then not that of the largest product, and zero times infinity is nothing."""
    layout = HeadLayout((16, 8), (8, 24), scale)
    qkv = drawn(0, (1, 37, layout.row_width), "fp16")
    assert error_of(run_ragged(emulate, tile, "fp16", layout, qkv), attention(qkv, layout)) < TOLERANCE["fp16"]


@pytest.mark.parametrize("width", [16, 32, 48, 64])
def test_each_width_of_heads_has_its_own_products(emulate: Run, width: int) -> None:
    layout = HeadLayout((width, 80 - width), (80 - width, width), 0.25)
    qkv = drawn(width, (1, 40, layout.row_width), "bf16")
    out = run_ragged(emulate, RAGGED_TILES[0], "bf16", layout, qkv)
    assert error_of(out, attention(qkv, layout)) < TOLERANCE["bf16"]


@pytest.mark.parametrize("order", [0, 1])
def test_the_widest_heads(emulate: Run, order: int) -> None:
    layout = HeadLayout((256, 8), (256, 255), 1 / 16)
    qkv = drawn(0, (1, 40, layout.row_width), "bf16")
    for tile in RAGGED_TILES:
        if tile.widest == 256 and tile.tensor_cores:
            out = run_ragged(emulate, tile, "bf16", layout, qkv, order=order)
            assert error_of(out, attention(qkv, layout)) < TOLERANCE["bf16"]


def test_the_same_input_gives_the_same_bytes(emulate: Run) -> None:
    """The order in which threads run changes nothing: no atomics, no races."""
    layout = HeadLayout((24, 8), (8, 40), 0.3)
    qkv = drawn(0, (2, 70, layout.row_width), "fp16")
    for tile in RAGGED_TILES[:3]:
        first, second = (run_ragged(emulate, tile, "fp16", layout, qkv, order=order) for order in (0, 1))
        assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("tile", RAGGED_TILES[:3], ids=lambda tile: tile.suffix)
def test_a_layer_of_a_pruned_deit(emulate: Run, tile: Tile) -> None:
    """197 tokens: four tiles of keys, of which the last holds five, and rows of the last block that do not exist."""
    layout = HeadLayout((64, 24), (40, 8), 0.125)
    qkv = drawn(0, (1, 197, layout.row_width), "fp16")
    out = run_ragged(emulate, tile, "fp16", layout, qkv)
    assert error_of(out, attention(qkv, layout)) < TOLERANCE["fp16"]
