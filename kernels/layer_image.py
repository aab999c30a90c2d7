"""The kernel of one layer as PTX with its head table inside, for engines that can pass no table."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from secateur.core.errors import KernelError
from secateur.kernels.compile import PLUGIN_SOURCE, compile_kernel
from secateur.kernels.driver import require_driver_for
from secateur.kernels.heads import HeadLayout
from secateur.kernels.variants import RAGGED_TILES, THREADS, Tile, element_bytes

TYPES = {"fp32": "float", "fp16": "half_t", "bf16": "bfloat_t"}
SHARED_LIMIT_BYTES = 48 * 1024  # more must be asked of the driver, and an engine does not


@dataclass(frozen=True)
class LayerImage:
    """PTX with the one kernel `<kernel>(qkv, tokens, out)`, and how to launch it.

    No two different kernels have one name: an engine holds those of all layers. The grid is
    (batch * ceil(tokens / `rows`), `heads`), each block has `threads` threads.
    """

    kernel: str
    ptx: bytes
    rows: int
    heads: int
    threads: int
    shared_bytes: int


def layer_tiles(layout: HeadLayout, dtype: str, capability: int) -> tuple[Tile, ...]:
    """The tiles that can serve the layer within an engine of that device, larger blocks first: its tactics.

    Raises `KernelError` where none does: for heads over 128, or over 64 in fp32 and before sm_80.
    """
    cores = element_bytes(dtype) == 2 and capability >= 80
    fitting = [
        tile
        for tile in RAGGED_TILES
        if not tile.short
        and tile.tensor_cores == cores
        and tile.widest >= layout.widest
        and tile.shared_bytes <= SHARED_LIMIT_BYTES
    ]
    if not fitting:
        most = 128 if cores else 64
        raise KernelError(
            f"a head is {layout.widest} wide, but the TensorRT plugin takes heads up to {most} in {dtype} on "
            f"sm_{capability}: export the model without kernels"
        )
    return tuple(tile for tile in fitting if tile.widest == fitting[0].widest)


def layer_defines(layout: HeadLayout, dtype: str, tile: Tile) -> tuple[str, ...]:
    """The macros under which `ragged_attention_plugin.cu` is the kernel of these heads."""
    split = THREADS // 32 * 16 // tile.rows if tile.tensor_cores else 0
    return (
        f"SECATEUR_TABLE={','.join(map(str, layout.table))}",
        f"SECATEUR_TYPE={TYPES[dtype]}",
        f"SECATEUR_D={tile.widest}",
        f"SECATEUR_SPLIT={split}",
    )


def layer_kernel(defines: tuple[str, ...]) -> str:
    """The name of the kernel under those macros."""
    return f"ragged_attention_{hashlib.sha256(' '.join(defines).encode()).hexdigest()[:16]}"


def layer_image(layout: HeadLayout, dtype: str, tile: Tile) -> LayerImage:
    """The PTX of one tile for the layer: of sm_80 (fp16, bf16) or sm_75 (fp32), which every later GPU translates."""
    architecture = 80 if tile.tensor_cores else 75
    defines = layer_defines(layout, dtype, tile)
    kernel = layer_kernel(defines)
    compiled = compile_kernel(PLUGIN_SOURCE, architecture, "ptx", (f"SECATEUR_KERNEL={kernel}", *defines))
    require_driver_for(compiled.image)
    return LayerImage(kernel, compiled.image, tile.rows, layout.heads, THREADS, tile.shared_bytes)
