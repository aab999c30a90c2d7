"""The kernel of one layer: its tiles, its image, and its numbers, thread by thread."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from secateur.core.errors import KernelError
from secateur.kernels import driver
from secateur.kernels import layer_image as images
from secateur.kernels.compile import PLUGIN_SOURCE, find_nvcc
from secateur.kernels.heads import HeadLayout
from secateur.kernels.layer_image import layer_defines, layer_image, layer_tiles
from secateur.kernels.variants import Launch, Tile
from tests.kernels.conftest import Emulator, Variant, compile_variants
from tests.kernels.reference import TOLERANCE, attention, drawn, error_of, poisoned

LAYOUT = HeadLayout((16, 8), (8, 24), 0.5)
WIDE = HeadLayout((72, 8), (16, 100), 0.5)
CASES = [
    (layout, dtype, tile)
    for layout, dtypes in ((LAYOUT, ("fp32", "fp16")), (WIDE, ("bf16",)))
    for dtype in dtypes
    for tile in layer_tiles(layout, dtype, 80)
]
KERNEL = "layer"  # the emulator's name for it


@pytest.fixture(scope="module")
def layers(need_gpp: None, emulators: Path) -> Iterator[Emulator]:
    """The kernels of all cases, each as the very source that the engine carries with the heads as macros."""
    variants = [
        Variant(
            f"{KERNEL}_{dtype}{tile.suffix}",
            PLUGIN_SOURCE,
            KERNEL,
            (f"SECATEUR_KERNEL={KERNEL}", *layer_defines(layout, dtype, tile)),
        )
        for layout, dtype, tile in CASES
    ]
    emulator = Emulator(compile_variants(variants, emulators))
    yield emulator
    emulator.close()


@pytest.mark.parametrize(("layout", "dtype", "tile"), CASES, ids=[f"{d}{t.suffix}" for _, d, t in CASES])
def test_the_kernel_of_one_layer(layers: Emulator, layout: HeadLayout, dtype: str, tile: Tile) -> None:
    """Thread by thread, against float64."""
    qkv = drawn(0, (2, 37, layout.row_width), dtype)
    grid = (2 * -(-37 // tile.rows), layout.heads, 1)
    launch = Launch("plugin", f"{KERNEL}_{dtype}{tile.suffix}", grid, (128, 1, 1), tile.shared_bytes)
    out = layers.run(launch, [qkv, 37, poisoned((2, 37, layout.out_width), dtype)])[-1]
    assert error_of(out, attention(qkv, layout)) < TOLERANCE[dtype]


@pytest.mark.skipif(find_nvcc() is None, reason="nvcc is not on this machine")
def test_the_image_is_ptx_with_one_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECATEUR_KERNEL_CACHE", str(tmp_path))
    tile = layer_tiles(LAYOUT, "bf16", 80)[1]
    made = layer_image(LAYOUT, "bf16", tile)
    text = made.ptx.decode()
    assert text.count(".visible .entry") == 1 and f".visible .entry {made.kernel}(" in text and ".target sm_80" in text
    assert (made.rows, made.heads, made.threads, made.shared_bytes) == (16, 2, 128, tile.shared_bytes)
    other = layer_image(HeadLayout((16, 8), (24, 8), 0.5), "bf16", tile)
    assert other.ptx != made.ptx and other.kernel != made.kernel


@pytest.mark.skipif(find_nvcc() is None, reason="nvcc is not on this machine")
def test_an_image_is_for_a_driver_that_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECATEUR_KERNEL_CACHE", str(tmp_path))
    monkeypatch.setattr(driver, "driver_cuda", lambda: (11, 4))
    with pytest.raises(
        KernelError, match=r"the PTX of a kernel needs a driver of CUDA 1\d\.\d, and this one knows 11\.4"
    ):
        layer_image(LAYOUT, "fp32", layer_tiles(LAYOUT, "fp32", 87)[0])


def test_each_layer_type_and_tile_has_a_kernel_of_its_own_name() -> None:
    """An engine holds them all, and finds each by its name."""
    names = {images.layer_kernel(layer_defines(layout, dtype, tile)) for layout, dtype, tile in CASES}
    assert len(names) == len(CASES)


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_before_sm_80_a_layer_does_without_tensor_cores(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """PTX of sm_80 cannot be translated for Turing."""
    asked: list[int] = []

    def compile_kernel(source: str, architecture: int, *rest: object) -> SimpleNamespace:
        asked.append(architecture)
        return SimpleNamespace(image=b".version 8.0\n")

    monkeypatch.setattr(images, "compile_kernel", compile_kernel)
    for capability, least in ((75, 75), (80, 80), (120, 80)):
        tiles = layer_tiles(LAYOUT, dtype, capability)
        assert {tile.tensor_cores for tile in tiles} == {capability >= 80}
        for tile in tiles:
            layer_image(LAYOUT, dtype, tile)
        assert set(asked) == {least}
        asked.clear()
    with pytest.raises(KernelError, match=rf"100 wide, .* heads up to 64 in {dtype} on sm_75"):
        layer_tiles(WIDE, dtype, 75)


def test_tiles_that_an_engine_cannot_launch_are_left_out() -> None:
    assert [tile.suffix for tile in layer_tiles(LAYOUT, "fp16", 80)] == ["_d64", "_d64_few"]
    assert [tile.suffix for tile in layer_tiles(WIDE, "bf16", 80)] == ["_d128", "_d128_few"]
    with pytest.raises(KernelError, match="a head is 100 wide, but the TensorRT plugin takes heads up to 64 in fp32"):
        layer_tiles(WIDE, "fp32", 80)
    with pytest.raises(KernelError, match=r"a head is 136 wide.* up to 128 in fp16"):
        layer_tiles(HeadLayout((136,), (8,), 1.0), "fp16", 80)
