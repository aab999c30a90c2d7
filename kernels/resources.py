"""What each kernel takes of a multiprocessor: registers, shared memory, spills, and how many blocks fit."""

from __future__ import annotations

import re
from dataclasses import dataclass

from secateur.core.errors import KernelError
from secateur.kernels.compile import Compiled
from secateur.kernels.variants import RAGGED_TILES, THREADS, WINDOW_TILES

# Shared memory of a multiprocessor and the most that one block may ask for, in KiB; resident warps; CUDA C++
# Programming Guide, "Technical Specifications per Compute Capability". One KiB of each block is the system's from 8.0.
SHARED_KIB = {75: 64, 80: 164, 86: 100, 87: 164, 89: 100, 90: 228, 100: 228, 110: 228, 120: 100}
BLOCK_SHARED_KIB = {75: 64, 80: 163, 86: 99, 87: 163, 89: 99, 90: 227, 100: 227, 110: 227, 120: 99}
RESIDENT_WARPS = {75: 32, 80: 64, 86: 48, 87: 48, 89: 48, 90: 64, 100: 64, 110: 48, 120: 48}
REGISTERS = 65536
REGISTER_UNIT = 256  # registers are handed out to a warp in these units
LARGEST_BLOCKS = 16

_ENTRY = re.compile(r"Compiling entry function '(\w+)'")
_SPILL = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")
_STATIC = re.compile(r"(\d+) bytes smem")


@dataclass(frozen=True)
class Resources:
    """One kernel on one architecture, as ptxas reports it, and the blocks that fit on a multiprocessor."""

    kernel: str
    architecture: int
    threads: int
    registers: int
    static_shared_bytes: int
    dynamic_shared_bytes: int
    stack_bytes: int
    spill_bytes: int
    blocks_per_multiprocessor: int


def resources_of(compiled: Compiled) -> list[Resources]:
    """The resources of every kernel in a cubin, by name; raises `KernelError` when the compiler reported none."""
    found = []
    for part in re.split(r"(?=Compiling entry function)", compiled.log):
        entry = _ENTRY.search(part)
        if not entry:
            continue
        spill, used, static = _SPILL.search(part), _USED.search(part), _STATIC.search(part)
        if not spill or not used:
            raise KernelError(f"ptxas said nothing of the registers of {entry[1]}: its output has changed its form")
        threads, dynamic = _launch_of(entry[1])
        registers, shared = int(used[1]), int(static[1]) if static else 0
        blocks = blocks_that_fit(compiled.architecture, threads, registers, shared + dynamic)
        stack, stores, loads = map(int, spill.groups())
        found.append(
            Resources(
                entry[1], compiled.architecture, threads, registers, shared, dynamic, stack, stores + loads, blocks
            )
        )
    if not found:
        raise KernelError(f"{compiled.compiler} reported no resources of {compiled.source}: nvcc is needed for them")
    return sorted(found, key=lambda one: one.kernel)


def blocks_that_fit(architecture: int, threads: int, registers: int, shared_bytes: int) -> int:
    """How many blocks a multiprocessor holds at once, by registers, shared memory, warps and the limit of blocks."""
    warps = -(-threads // 32)
    per_warp = -(-registers * 32 // REGISTER_UNIT) * REGISTER_UNIT
    own = shared_bytes + (1024 if architecture >= 80 else 0)
    if shared_bytes > BLOCK_SHARED_KIB[architecture] * 1024:
        return 0
    by_shared = SHARED_KIB[architecture] * 1024 // own if own else LARGEST_BLOCKS
    return min(REGISTERS // (per_warp * warps), by_shared, RESIDENT_WARPS[architecture] // warps, LARGEST_BLOCKS)


def _launch_of(kernel: str) -> tuple[int, int]:
    """Threads and dynamic shared memory (bytes) of a kernel; those of a typical row (768) for residual_layernorm."""
    if kernel.startswith("bias_gelu"):
        return 256, 0
    if kernel.startswith("residual_layernorm"):
        return THREADS, 4 * 4 * 768
    tiles = RAGGED_TILES if kernel.startswith("ragged") else WINDOW_TILES
    tile = next(tile for tile in tiles if re.fullmatch(rf"\w+_(fp32|fp16|bf16){tile.suffix}", kernel))
    return THREADS, tile.shared_bytes
