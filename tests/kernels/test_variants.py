"""Which kernel is chosen, with which grid, and what is refused before a launch."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from secateur.core.errors import KernelError
from secateur.kernels import variants
from secateur.kernels.compile import FOLDER, SOURCES
from secateur.kernels.heads import HeadLayout
from secateur.kernels.variants import (
    RAGGED_TILES,
    SIGNATURES,
    WINDOW_TILES,
    DeviceLimits,
    Tile,
    attention_launch,
    gelu_launch,
    layernorm_launch,
    predicted_cycles,
    ragged_launch,
    window_launch,
)

ORIN = DeviceLimits(87, 8, 163 * 1024)
H100 = DeviceLimits(90, 132, 227 * 1024)
THOR = DeviceLimits(110, 20, 227 * 1024)
T4 = DeviceLimits(75, 40, 64 * 1024)
WIDER = SimpleNamespace(widest=257)  # wider than a HeadLayout lets a head be
SIX = HeadLayout((64,) * 6, (64,) * 6, 0.125)


@pytest.mark.parametrize(
    ("device", "dtype", "batch", "kernel", "grid"),
    [
        (H100, "fp16", 512, "ragged_attention_fp16_d64_short208", (512, 6, 1)),
        (H100, "fp16", 8, "ragged_attention_fp16_d64_short208", (8, 6, 4)),  # 48 heads for 132 multiprocessors
        (H100, "bf16", 1, "ragged_attention_bf16_d64_few", (13, 6, 1)),
        (ORIN, "fp16", 1, "ragged_attention_fp16_d64_short208", (1, 6, 2)),
        (THOR, "fp16", 64, "ragged_attention_fp16_d64", (64 * 4, 6, 1)),
        (H100, "fp32", 64, "ragged_attention_fp32_plain_d64", (64 * 13, 6, 1)),
        (T4, "fp16", 64, "ragged_attention_fp16_plain_d64", (64 * 13, 6, 1)),
    ],
)
def test_the_grid_fills_the_device(
    device: DeviceLimits, dtype: str, batch: int, kernel: str, grid: tuple[int, int, int]
) -> None:
    launch = ragged_launch(SIX, dtype, batch, 197, device)
    assert (launch.kernel, launch.grid, launch.block) == (kernel, grid, (128, 1, 1))


@pytest.mark.parametrize(
    ("widths", "suffix"), [((8, 64), "_d64_short208"), ((65, 8), "_d128"), ((8, 128), "_d128"), ((136, 8), "_d256")]
)
def test_the_narrowest_tile_that_holds_the_widest_head(widths: tuple[int, int], suffix: str) -> None:
    layout = HeadLayout((8, widths[0]), (16, widths[1]), 1.0)
    assert ragged_launch(layout, "fp16", 512, 197, H100).kernel == f"ragged_attention_fp16{suffix}"


@pytest.mark.parametrize(("tokens", "short"), [(1, True), (197, True), (208, True), (209, False), (1024, False)])
def test_all_keys_of_a_head_are_held_where_they_fit(tokens: int, short: bool) -> None:
    launch = ragged_launch(SIX, "fp16", 512, tokens, H100)
    assert ("_short" in launch.kernel) is short
    if short:  # no more shared memory than the tokens need: keys and values, 16 at a time, of 64 elements
        assert launch.shared_bytes == 2 * -(-tokens // 16) * 16 * 64 * 2
    with pytest.raises(KernelError, match="209 tokens were given, but the tile _d64_short208 takes at most 208"):
        attention_launch("ragged_attention", RAGGED_TILES[0], SIX, "fp16", 1, 209)


def cycles(tile: Tile, batch: int, tokens: int) -> float:
    launch = attention_launch("ragged_attention", tile, SIX, "fp16", batch, tokens)
    return predicted_cycles(tile, launch, tokens, H100)


@pytest.mark.parametrize("tile", RAGGED_TILES[:3], ids=lambda tile: tile.suffix)
def test_more_sequences_never_take_less_time(tile: Tile) -> None:
    """They take no more while multiprocessors are idle, and twice as long for twice as many on a full device."""
    found = [cycles(tile, batch, 197) for batch in (1, 2, 8, 64, 512, 1024)]
    assert found == sorted(found)
    assert found[1] == found[0]
    assert found[-1] == pytest.approx(2 * found[-2], rel=0.05)


def test_warps_that_share_the_keys_take_whole_steps_of_them() -> None:
    """Four warps share 16 keys no faster than one has them, and 65 keys take as long as 128."""
    few = RAGGED_TILES[2]
    assert cycles(few, 1, 1) == cycles(few, 1, 16) == cycles(few, 1, 64)
    assert cycles(few, 1, 65) == cycles(few, 1, 128) == 2 * cycles(few, 1, 64)


def test_a_block_that_does_not_fit_gives_way_to_a_smaller_one() -> None:
    """Heads of 256 need 96 KiB with 64 rows a block and 80 KiB with 32."""
    small = DeviceLimits(86, 84, 90 * 1024)
    layout = HeadLayout((256,), (256,), 1.0)
    assert ragged_launch(layout, "fp16", 4096, 197, small).kernel.endswith("_d256_few")
    with pytest.raises(KernelError, match=r"81920 bytes of shared memory for heads of 256, but a block has .* 65536"):
        ragged_launch(layout, "fp16", 1, 197, DeviceLimits(86, 84, 64 * 1024))


@pytest.mark.parametrize(
    ("device", "dtype", "batch", "tokens", "message"),
    [
        (DeviceLimits(70, 80, 96 * 1024), "fp16", 1, 197, "compute capability 7.0, but ragged_attention needs 7.5"),
        (H100, "fp64", 1, 197, "the type 'fp64' was given.*fp32, fp16, bf16"),
        (H100, "fp16", 0, 197, "0 sequences of 197 tokens"),
        (H100, "fp16", 2**31, 197, "split the batch"),
    ],
)
def test_what_cannot_be_launched_is_refused(
    device: DeviceLimits, dtype: str, batch: int, tokens: int, message: str
) -> None:
    with pytest.raises(KernelError, match=message):
        ragged_launch(SIX, dtype, batch, tokens, device)


def test_windows_are_sequences() -> None:
    layout = HeadLayout((32,) * 3, (32,) * 3, 1.0)
    launch = window_launch(layout, "fp16", 2, (56, 28), (7, 7), H100)
    assert (launch.kernel, launch.grid) == ("window_attention_fp16_d64", (2 * 8 * 4, 3, 1))
    assert window_launch(layout, "fp16", 1, (20, 14), (10, 7), H100).grid == (2 * 2 * 2, 3, 1)  # 70 tokens: two blocks
    with pytest.raises(KernelError, match="55 x 28 was given with windows of 7 x 7"):
        window_launch(layout, "fp16", 2, (55, 28), (7, 7), H100)
    with pytest.raises(KernelError, match="a head is 136 wide, but window_attention takes at most 128"):
        window_launch(HeadLayout((136,), (8,), 1.0), "fp16", 1, (7, 7), (7, 7), H100)
    with pytest.raises(KernelError, match="a head is 257 wide, but ragged_attention takes at most 256 in fp32"):
        variants._fitting(RAGGED_TILES, WIDER, "fp32", H100, "ragged_attention")
    tiles = (Tile("_a", 64, 64, 64, True), Tile("_b", 128, 16, 32, False))
    with pytest.raises(KernelError, match="takes at most 128 in fp32"):
        variants._fitting(tiles, WIDER, "fp32", H100, "window_attention")


@pytest.mark.parametrize(
    ("dtype", "width", "name", "warps"),
    [
        ("fp16", 768, "residual_layernorm_fp16", 4),
        ("fp16", 766, "residual_layernorm_fp16_scalar", 4),
        ("fp16", 764, "residual_layernorm_fp16_scalar", 4),
        ("fp32", 764, "residual_layernorm_fp32", 4),
        ("fp32", 5000, "residual_layernorm_fp32", 2),
    ],
)
def test_rows_of_layernorm(dtype: str, width: int, name: str, warps: int) -> None:
    launch = layernorm_launch(dtype, 10, width)
    assert (launch.kernel, launch.block, launch.shared_bytes) == (name, (32, warps, 1), warps * width * 4)
    assert launch.grid == (-(-10 // warps), 1, 1)


def test_rows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(KernelError, match="rows of 12289 elements were given, but at most 12288 fit"):
        layernorm_launch("fp16", 1, 12289)
    assert layernorm_launch("fp16", 1, 12288).block == (32, 1, 1)
    with pytest.raises(KernelError, match=r"^0 rows of 768 elements were given: there must be at least 1$"):
        layernorm_launch("fp16", 0, 768)
    with pytest.raises(KernelError, match="0 rows"):
        gelu_launch("fp16", 0, 8, 1)


def test_gelu_stops_at_eight_blocks_a_multiprocessor() -> None:
    assert gelu_launch("fp16", 10, 768, 8).grid == (4, 1, 1)
    assert gelu_launch("fp16", 10000, 768, 8).grid == (64, 1, 1)
    assert gelu_launch("fp16", 10, 767, 8).kernel == "bias_gelu_fp16_scalar"


@pytest.mark.parametrize("source", SOURCES)
def test_every_tile_names_a_kernel_and_every_kernel_has_a_tile(source: str) -> None:
    text = (FOLDER / f"{source}.cu").read_text()
    declared = set(re.findall(r"^[A-Z_]+\((\w+),", text, re.M))
    if source in ("ragged_attention", "window_attention"):
        tiles = RAGGED_TILES if source == "ragged_attention" else WINDOW_TILES
        types = {True: ("fp16", "bf16"), False: ("fp32", "fp16", "bf16")}
        assert declared == {f"{source}_{t}{tile.suffix}" for tile in tiles for t in types[tile.tensor_cores]}
    arguments = re.search(r"(?:_ARGUMENTS\(T\)|\bname\()([^){]+?)(?:\n\n|\))", text)
    assert arguments is not None
    flat = arguments[1].replace("\\", " ").split(",")
    letters = "".join("P" if "*" in part else "f" if "float" in part else "i" for part in flat)
    assert letters == SIGNATURES[source]
