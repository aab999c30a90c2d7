"""The instructions that a warp issues for its work, counted in the machine code of a cubin."""

from __future__ import annotations

import heapq
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from secateur.core.errors import KernelError
from secateur.kernels.compile import Compiled

_LINE = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(@!?U?P\d+ +)?([A-Z][A-Z0-9_.]*)\s*([^;]*);", re.M)
_TARGET = re.compile(r"0x([0-9a-f]+)\s*$")
NEVER_ON = ("EXIT", "RET", "BRX", "JMP")  # after these, without a predicate, nothing follows
MULTIPLICATIONS = 64
"""The products with keys and values that a warp issues for 16 query rows and 64 keys of a head that is 64 wide."""

WIDEST_STEP = 8  # products of 16 keys with a head that is 64 wide: the code of short sequences is there for each width


@dataclass(frozen=True)
class Instruction:
    """One line of a disassembly; `target` is where a branch goes, or None."""

    address: int
    predicated: bool
    name: str
    target: int | None

    @property
    def kind(self) -> str:
        """The name without its modifiers: `HMMA` of `HMMA.16816.F32`."""
        return self.name.partition(".")[0]


@dataclass(frozen=True)
class LoopCount:
    """What a warp issues in the loop over its work, for 16 rows and 64 keys of a head that is 64 wide.

    `others` are all instructions but the `MULTIPLICATIONS`, for each of which the loop's own are scaled to that work;
    `loop_multiplications` is how many the loop has.
    """

    kernel: str
    architecture: int
    others: float
    loop_multiplications: int


def count_loop(compiled: Compiled, kernel: str) -> LoopCount:
    """The count of one kernel of a cubin; raises `KernelError` where there is no disassembler."""
    others, products = loop_instructions(disassembled(compiled.image, kernel), "_short" in kernel)
    return LoopCount(kernel, compiled.architecture, round(others * MULTIPLICATIONS / products, 1), products)


def disassembled(cubin: bytes, kernel: str) -> str:
    """What cuobjdump says of one kernel of a cubin; raises `KernelError` where it is not found, or fails."""
    tool = find_cuobjdump()
    if tool is None:
        raise KernelError("cuobjdump was not found: install the CUDA toolkit, or Triton, which brings it along")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(cubin)
        done = subprocess.run([tool, "-sass", "-fun", kernel, file], capture_output=True, text=True)
    if done.returncode:
        raise KernelError(f"cuobjdump failed ({done.stderr.strip()[:200]}): is it of an older CUDA than the compiler?")
    return done.stdout


def find_cuobjdump() -> Path | None:
    """The cuobjdump on the PATH, or the one in Triton's wheel; none where neither is there."""
    found = shutil.which("cuobjdump")
    if found:
        return Path(found)
    from importlib.util import find_spec

    spec = find_spec("triton")
    places = spec.submodule_search_locations if spec else None
    inside = [Path(place) / "backends" / "nvidia" / "bin" / "cuobjdump" for place in places or ()]
    return next((place for place in inside if place.is_file()), None)


def loop_instructions(sass: str, widest: bool = False) -> tuple[int, int]:
    """(all others, products with keys and values) on the way once round the loop that multiplies.

    It is the way of a head of full width without extras. It passes every block with products (`widest`: the code is
    there for each width of heads, and only the blocks with `WIDEST_STEP` products count, and all with a maximum), with
    an exponential, and with a copy to shared memory or a word of global memory; between those it is the shortest.
    Predicated instructions are issued in any case. Raises `KernelError` where the code has no such loop.
    """
    code = [_instruction(line) for line in _LINE.finditer(sass)]
    first, last = _loop(code)
    code = [one for one in code if first <= one.address <= last]
    blocks = _blocks(code)
    passed = [
        start for start, block in blocks.items()
        if _multiplies(block, widest) or any(_is_work(one, widest) for one in block)
    ]  # fmt: skip
    following = _following(blocks)
    others = products = 0
    for here, there in zip(passed, [*passed[1:], passed[0]], strict=True):
        for start in _shortest(blocks, following, here, there):
            block = blocks[start]
            products += _count(block, "HMMA") if _multiplies(block, widest) else 0
            others += len(block) - _count(block, "HMMA")
    return others, products


def _multiplies(block: list[Instruction], widest: bool) -> bool:
    return _count(block, "HMMA") == WIDEST_STEP if widest else _count(block, "HMMA") > 0


def _instruction(line: re.Match[str]) -> Instruction:
    address, guard, name, operands = line.groups()
    found = _TARGET.search(operands) if name.startswith("BRA") else None
    # a branch may also name its condition before its target, as `BRA P2, 0x80` and `BRA.DIV UR4, 0x80` do
    predicated = bool(guard) or (found is not None and "," in operands)
    return Instruction(int(address, 16), predicated, name, int(found[1], 16) if found else None)


def _is_work(one: Instruction, widest: bool) -> bool:
    """An exponential, a maximum, or a whole word between memories: narrower ones are for odd widths and biases."""
    if one.kind in ("LDG", "STG"):
        return ".U16" not in one.name and ".64" not in one.name
    return one.name.startswith("MUFU.EX2") or one.kind == "LDGSTS" or (widest and one.kind == "FMNMX")


def _count(block: list[Instruction], kind: str) -> int:
    return sum(one.kind == kind for one in block)


def _loop(code: list[Instruction]) -> tuple[int, int]:
    """The addresses of the shortest loop around all products."""
    products = [one.address for one in code if one.kind == "HMMA"]
    loops = [
        (one.target, one.address)
        for one in code
        if products and one.target is not None and one.target < products[0] and one.address > products[-1]
    ]
    if not loops:
        raise KernelError("the machine code has no loop around its products: the compiler lays it out in another way")
    return max(loops, key=lambda loop: loop[0] - loop[1])


def _blocks(code: list[Instruction]) -> dict[int, list[Instruction]]:
    """Runs of instructions without a branch in or out of their middle, by their first address."""
    starts = {one.target for one in code if one.target is not None}
    blocks: dict[int, list[Instruction]] = {}
    open_block = False
    for one in code:
        if not open_block or one.address in starts:
            blocks[one.address] = current = []
        current.append(one)
        open_block = one.target is None and one.kind not in NEVER_ON
    return blocks


def _following(blocks: dict[int, list[Instruction]]) -> dict[int, list[int]]:
    order = list(blocks)
    found: dict[int, list[int]] = {}
    for place, start in enumerate(order):
        end = blocks[start][-1]
        on = [] if end.target is None else [end.target]
        falls = end.predicated or (end.target is None and end.kind not in NEVER_ON)
        if falls and place + 1 < len(order):
            on.append(order[place + 1])
        found[start] = [target for target in on if target in blocks]
    return found


def _shortest(
    blocks: dict[int, list[Instruction]], following: dict[int, list[int]], here: int, there: int
) -> list[int]:
    """The blocks after `here` up to and with `there`, on the way with the fewest instructions."""
    heap: list[tuple[int, int, list[int]]] = [(0, here, [])]
    done: set[int] = set()
    while heap:
        length, start, path = heapq.heappop(heap)
        if path and start == there:
            return path
        if start in done and path:
            continue
        if path:
            done.add(start)
        for target in following[start]:
            heapq.heappush(heap, (length + len(blocks[target]), target, [*path, target]))
    raise KernelError(f"no way leads from {here:#x} to {there:#x}: the compiler lays the loop out in another way")
