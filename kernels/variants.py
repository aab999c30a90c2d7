"""Which compiled kernel serves a problem, with its grid and its shared memory; asked before every launch."""

from __future__ import annotations

from dataclasses import dataclass

from secateur.core.errors import KernelError
from secateur.kernels.heads import HeadLayout

THREADS = 128
WARPS = THREADS // 32
DTYPES = ("fp32", "fp16", "bf16")
SHORT_BEFORE = 100  # the compiler spills registers of the short tiles for this architecture and newer ones
LARGEST_GRID_X = 2**31 - 1
LARGEST_GRID_Y = 65535
# One letter an argument, as pycuda and struct write them: P pointer, i int32, f float32. Outputs come last.
SIGNATURES = {
    "ragged_attention": "PPPiPiPiP",
    "window_attention": "PPPiPiiiiiiP",
    "residual_layernorm": "PPPPPiifPP",
    "bias_gelu": "PPiiP",
}
GELU_THREADS = 256
PARTS = (1, 2, 4)  # blocks that may share the rows of a head, in the short tiles
# What a warp issues for 16 query rows and 64 keys and each 64 of a tile's width, products included, as counted in the
# machine code for sm_90 (`loops` in benchmarks/results/kernel_resources.json). The plain tiles have no rivals.
INSTRUCTIONS = {
    "_d64_short208": 387, "_d64": 1056, "_d64_few": 1488, "_d128": 1059, "_d128_few": 1492, "_d256": 829,
    "_d256_few": 1090, "_plain_d64": 1, "_plain_d256": 1,
}  # fmt: skip
# How a multiprocessor is taken to issue; these four are assumed, and a measurement should correct them.
COPY_INSTRUCTIONS = 12  # of a thread for 16 bytes, in the short tiles
ISSUED = 2.8  # instructions a cycle, of four at most
CYCLES_BETWEEN = 3  # cycles from one instruction of a warp to its next
BLOCKS_AT_ONCE = 2
ROW_SHARED_BYTES = 48 * 1024  # what every device gives a block without being asked


@dataclass(frozen=True)
class DeviceLimits:
    """What a choice depends on: compute capability (86 for 8.6), multiprocessors, shared memory a block may have."""

    capability: int
    multiprocessors: int
    shared_bytes_per_block: int


@dataclass(frozen=True)
class Launch:
    """One launch: the entry `kernel` of `cuda/<source>.cu`, its grid and block and its dynamic shared memory."""

    source: str
    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int


@dataclass(frozen=True)
class Tile:
    """One attention variant: its name's ending, the widest head, query rows and keys a block takes at a time."""

    suffix: str
    widest: int
    rows: int
    keys: int
    tensor_cores: bool
    most_tokens: int = 0

    @property
    def short(self) -> bool:
        """Whether a block holds all keys and values of a head, of `most_tokens` at most."""
        return self.most_tokens > 0

    @property
    def parts(self) -> tuple[int, ...]:
        """The numbers of blocks that may share the rows of a head."""
        return PARTS if self.short else (1,)

    def shared_bytes_for(self, tokens: int) -> int:
        """Dynamic shared memory of a launch: of the short tiles no more than the tokens need."""
        return 4 * up_to(tokens, 16) * self.widest if self.short else self.shared_bytes

    @property
    def shared_bytes(self) -> int:
        """The most dynamic shared memory: Q, two stages of K and V; all of K and V; or float Q and a padded tile."""
        if self.short:
            return self.shared_bytes_for(self.most_tokens)
        if self.tensor_cores:
            return (self.rows + 4 * self.keys) * self.widest * 2
        return (self.rows * self.widest + self.keys * (self.widest + 1)) * 4


RAGGED_TILES = (
    Tile("_d64_short208", 64, 64, 208, True, most_tokens=208),
    Tile("_d64", 64, 64, 64, True),
    Tile("_d64_few", 64, 16, 64, True),
    Tile("_d128", 128, 64, 32, True),
    Tile("_d128_few", 128, 32, 32, True),
    Tile("_d256", 256, 64, 32, True),
    Tile("_d256_few", 256, 32, 32, True),
    Tile("_plain_d64", 64, 16, 32, False),
    Tile("_plain_d256", 256, 16, 32, False),
)
WINDOW_TILES = (
    Tile("_d64", 64, 64, 64, True),
    Tile("_d128", 128, 64, 32, True),
    Tile("_plain_d128", 128, 16, 32, False),
)


def ragged_launch(layout: HeadLayout, dtype: str, batch: int, tokens: int, device: DeviceLimits) -> Launch:
    """The launch of `ragged_attention` for `batch` sequences of `tokens`; raises `KernelError` where there is none.

    The one that is predicted to be done first, by `predicted_cycles`.
    """
    tiles = _fitting(RAGGED_TILES, layout, dtype, device, "ragged_attention")
    if not tokens or not batch:
        raise KernelError(f"{batch} sequences of {tokens} tokens were given: both must be at least 1")
    launches = [
        (tile, attention_launch("ragged_attention", tile, layout, dtype, batch, tokens, parts))
        for tile in tiles
        if not tile.short or tokens <= tile.most_tokens
        for parts in tile.parts
    ]
    return min(launches, key=lambda one: predicted_cycles(one[0], one[1], tokens, device))[1]


def predicted_cycles(tile: Tile, launch: Launch, tokens: int, device: DeviceLimits) -> float:
    """The cycles of a launch for heads of the tile's width, by instructions that are counted and not by any time.

    A multiprocessor issues `ISSUED` instructions a cycle when it has warps enough; one warp alone issues one in
    `CYCLES_BETWEEN` cycles. The slower of the two decides: all the work of a multiprocessor, or one block after the
    other. `INSTRUCTIONS` is what a warp issues for 16 rows and 64 keys.
    """
    steps = -(-tokens // 16)
    blocks = launch.grid[0] * launch.grid[1] * launch.grid[2]
    step = INSTRUCTIONS[tile.suffix] * tile.widest / 64 / 4  # for 16 rows and 16 keys
    if tile.short:
        groups = -(-steps // launch.grid[2])  # of 16 rows, in the block that has most
        loads = 2 * steps * 16 * tile.widest // 8 / 32 * COPY_INSTRUCTIONS / WARPS
        longest = loads + step * steps * -(-groups // WARPS)
        work = loads * WARPS + step * steps * groups
    else:  # loads are among the instructions of a tile
        groups = tile.rows // 16
        longest = step * -(-steps // (WARPS // groups))  # warps that have the same rows share the keys, 16 at a time
        work = step * steps * min(groups, steps)
    on_one = -(-blocks // device.multiprocessors)
    at_once = max(1, min(BLOCKS_AT_ONCE, device.shared_bytes_per_block // max(1, launch.shared_bytes)))
    return max(on_one * work / ISSUED, -(-on_one // at_once) * longest * CYCLES_BETWEEN)


def window_launch(
    layout: HeadLayout, dtype: str, images: int, size: tuple[int, int], window: tuple[int, int], device: DeviceLimits
) -> Launch:
    """The launch of `window_attention` on feature maps of `size` (height, width) cut into windows of `window`."""
    if any(n % w or n < w for n, w in zip(size, window, strict=True)):
        raise KernelError(
            f"a feature map of {size[0]} x {size[1]} was given with windows of {window[0]} x {window[1]}: "
            "it must be a whole number of windows, so pad it first"
        )
    tile = _fitting(WINDOW_TILES, layout, dtype, device, "window_attention")[0]
    windows = images * (size[0] // window[0]) * (size[1] // window[1])
    return attention_launch("window_attention", tile, layout, dtype, windows, window[0] * window[1])


def attention_launch(
    source: str, tile: Tile, layout: HeadLayout, dtype: str, sequences: int, tokens: int, parts: int = 1
) -> Launch:
    """The launch of one tile; raises `KernelError` when the grid would be too large, or the tile takes no such tokens.

    `parts` blocks share the rows of a head, in the tiles that hold all of its keys.
    """
    if tile.short and tokens > tile.most_tokens:
        raise KernelError(f"{tokens} tokens were given, but the tile {tile.suffix} takes at most {tile.most_tokens}")
    if tile.short:
        grid = (sequences, layout.heads, parts)
    else:
        grid = (sequences * -(-tokens // tile.rows), layout.heads, 1)
    if grid[0] > LARGEST_GRID_X or grid[1] > LARGEST_GRID_Y:
        raise KernelError(f"{sequences} sequences of {tokens} tokens make a grid of {grid}: split the batch")
    return Launch(source, f"{source}_{dtype}{tile.suffix}", grid, (THREADS, 1, 1), tile.shared_bytes_for(tokens))


def layernorm_launch(dtype: str, rows: int, width: int) -> Launch:
    """The launch of `residual_layernorm` on `rows` rows of `width`; one warp a row, as many as fit in shared memory."""
    count = 16 // element_bytes(dtype)
    packs = width % count == 0
    row_bytes = 4 * width
    warps = min(WARPS, ROW_SHARED_BYTES // row_bytes)
    if not rows:
        raise KernelError(f"{rows} rows of {width} elements were given: there must be at least 1")
    if not warps:
        raise KernelError(
            f"rows of {width} elements were given, but at most {ROW_SHARED_BYTES // 4} fit: use LayerNorm"
        )
    name = f"residual_layernorm_{dtype}" + ("" if packs else "_scalar")
    return Launch("residual_layernorm", name, (-(-rows // warps), 1, 1), (32, warps, 1), warps * row_bytes)


def gelu_launch(dtype: str, rows: int, width: int, multiprocessors: int) -> Launch:
    """The launch of `bias_gelu`: at most eight blocks a multiprocessor, each thread striding over what is left."""
    count = 16 // element_bytes(dtype)
    packs = width % count == 0
    items = rows * width // count if packs else rows * width
    if not items:
        raise KernelError(f"{rows} rows of {width} elements were given: both must be at least 1")
    blocks = min(-(-items // GELU_THREADS), 8 * multiprocessors)
    return Launch("bias_gelu", f"bias_gelu_{dtype}" + ("" if packs else "_scalar"), (blocks, 1, 1),
                  (GELU_THREADS, 1, 1), 0)  # fmt: skip


def up_to(n: int, unit: int) -> int:
    """The first multiple of `unit` that is not below `n`."""
    return -(-n // unit) * unit


def element_bytes(dtype: str) -> int:
    """Bytes of one element; raises `KernelError` for a type that the kernels do not take."""
    if dtype not in DTYPES:
        raise KernelError(f"the type {dtype!r} was given, but the kernels take {', '.join(DTYPES)}: cast the tensors")
    return 4 if dtype == "fp32" else 2


def _fitting(
    tiles: tuple[Tile, ...], layout: HeadLayout, dtype: str, device: DeviceLimits, what: str
) -> tuple[Tile, ...]:
    """The tiles of the narrowest sufficient width, larger blocks first."""
    if device.capability < 75:
        raise KernelError(
            f"the device has compute capability {device.capability / 10:.1f}, but {what} needs 7.5 or newer: "
            "use the library's attention on it"
        )
    cores = element_bytes(dtype) == 2 and device.capability >= 80
    wide = [tile for tile in tiles if tile.tensor_cores == cores and tile.widest >= layout.widest]
    wide = [tile for tile in wide if not tile.short or device.capability < SHORT_BEFORE]
    if not wide:
        most = max(tile.widest for tile in tiles if tile.tensor_cores == cores)
        raise KernelError(f"a head is {layout.widest} wide, but {what} takes at most {most} in {dtype} here")
    best = tuple(tile for tile in wide if tile.widest == wide[0].widest)
    fitting = tuple(tile for tile in best if tile.shared_bytes <= device.shared_bytes_per_block)
    if not fitting:
        raise KernelError(
            f"{what} needs {best[-1].shared_bytes} bytes of shared memory for heads of {layout.widest}, but a block "
            f"has at most {device.shared_bytes_per_block} on this device: prune heads or use the library's attention"
        )
    return fitting
