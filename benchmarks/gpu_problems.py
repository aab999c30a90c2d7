"""The problems of the GPU suite, and what each costs: bytes, arithmetic, blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from secateur.kernels.heads import HeadLayout
from secateur.kernels.resources import Resources, blocks_that_fit
from secateur.kernels.variants import (
    RAGGED_TILES,
    DeviceLimits,
    Launch,
    element_bytes,
    gelu_launch,
    layernorm_launch,
    ragged_launch,
)

DEIT_TOKENS = 197
MIXED = (8, 16, 24, 32, 48, 64)
"""Heads as pruning leaves them: of 8 to 64 dimensions in one layer."""


@dataclass(frozen=True)
class Problem:
    """One call of a kernel: attention of `layout` over `rows` sequences of `tokens`, or a row kernel over `width`."""

    name: str
    kernel: str
    dtype: str
    rows: int
    tokens: int = 1
    layout: HeadLayout | None = None
    width: int = 0

    def launch(self, limits: DeviceLimits) -> Launch:
        """The launch that the library would choose on such a device."""
        if self.layout is not None:
            return ragged_launch(self.layout, self.dtype, self.rows, self.tokens, limits)
        if self.kernel == "residual_layernorm":
            return layernorm_launch(self.dtype, self.rows * self.tokens, self.width)
        return gelu_launch(self.dtype, self.rows * self.tokens, self.width, limits.multiprocessors)


@dataclass(frozen=True)
class Cost:
    """What a problem needs (`flops`, `bytes_moved`: each tensor once) and what its launch really multiplies.

    `launched_flops` counts whole steps: rows, keys and widths filled up to what the instructions take. The padded
    numbers are those of heads all as wide as the widest. `waves` is how often the blocks fill the device.
    """

    bytes_moved: int
    flops: int
    launched_flops: int
    padded_bytes_moved: int
    padded_flops: int
    blocks: int
    blocks_per_multiprocessor: int
    waves: float


def problems(batches: tuple[int, ...] = (1, 8, 64)) -> list[Problem]:
    """DeiT-Small's layers at N = 197: uniform, mixed and few heads, and the row kernels of a pruned width."""
    layouts = {
        "uniform 6x64": HeadLayout((64,) * 6, (64,) * 6, 0.125),
        "uniform 6x32": HeadLayout((32,) * 6, (32,) * 6, 0.125),
        "mixed 8-64": HeadLayout(MIXED, MIXED, 0.125),
        "mixed 8-64, q/k narrower": HeadLayout((8, 8, 16, 24, 32, 40), MIXED, 0.125),
        "not multiples of 8": HeadLayout((7, 13, 22, 35, 51, 64), (9, 15, 23, 33, 47, 61), 0.125),
        "one head of 128": HeadLayout((128,), (128,), 128**-0.5),
    }
    found = [
        Problem(name, "ragged_attention", dtype, batch, DEIT_TOKENS, layout)
        for name, layout in layouts.items()
        for dtype in ("fp16", "bf16", "fp32")
        for batch in batches
    ]
    for kernel, width in (
        ("residual_layernorm", 384),
        ("residual_layernorm", 376),
        ("bias_gelu", 1536),
        ("bias_gelu", 904),
    ):
        found += [
            Problem(f"{kernel} {width}", kernel, dtype, batch, DEIT_TOKENS, None, width)
            for dtype in ("fp16", "fp32")
            for batch in batches
        ]
    return found


def cost_of(problem: Problem, limits: DeviceLimits, resources: Mapping[str, Resources]) -> Cost:
    """The cost of the launch that would be chosen; `resources` are those of the device's architecture, by kernel."""
    launch = problem.launch(limits)
    blocks = launch.grid[0] * launch.grid[1] * launch.grid[2]
    own = resources[launch.kernel]
    threads = launch.block[0] * launch.block[1]
    fit = blocks_that_fit(own.architecture, threads, own.registers, own.static_shared_bytes + launch.shared_bytes)
    item = element_bytes(problem.dtype)
    count = problem.rows * problem.tokens
    if problem.layout is None:
        tensors = 4 if problem.kernel == "residual_layernorm" else 2
        flops = count * problem.width * (9 if problem.kernel == "residual_layernorm" else 20)
        vectors = 2 if problem.kernel == "residual_layernorm" else 1
        moved = item * (tensors * count + vectors) * problem.width
        return Cost(moved, flops, flops, moved, flops, blocks, fit, blocks / (fit * limits.multiprocessors))
    layout = problem.layout
    tile = next(tile for tile in RAGGED_TILES if launch.kernel.endswith(f"{problem.dtype}{tile.suffix}"))
    useful = launched = 0
    for qk, v in zip(layout.qk_dims, layout.v_dims, strict=True):
        useful += 2 * problem.tokens**2 * (qk + v)
        if tile.tensor_cores:  # rows, keys and widths go 16 at a time
            launched += 2 * _up(problem.tokens, 16) ** 2 * (_up(qk, 16) + _up(v, 16))
        else:
            launched += 2 * _up(problem.tokens, tile.rows) * _up(problem.tokens, tile.keys) * (_up(qk, 4) + _up(v, 32))
    widest = layout.heads * (max(layout.qk_dims) + max(layout.v_dims))
    return Cost(
        bytes_moved=item * count * (layout.row_width + layout.out_width),
        flops=problem.rows * useful,
        launched_flops=problem.rows * launched,
        padded_bytes_moved=item * count * 2 * widest,
        padded_flops=problem.rows * 2 * problem.tokens**2 * widest,
        blocks=blocks,
        blocks_per_multiprocessor=fit,
        waves=blocks / (fit * limits.multiprocessors),
    )


def _up(n: int, unit: int) -> int:
    return -(-n // unit) * unit
