"""The widths of a layer's heads, and the small table through which the kernels know them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from secateur.core.errors import KernelError

WIDEST = 256
PACK = 8  # elements of 16 bits in one 16-byte access


@dataclass(frozen=True)
class HeadLayout:
    """Heads packed as `[sum(q) + sum(k) + sum(v)]`: all queries, all keys, all values; `scale` multiplies the logits.

    Raises `KernelError` when the widths do not pair up or leave 1 to 256.
    """

    qk_dims: tuple[int, ...]
    v_dims: tuple[int, ...]
    scale: float

    def __post_init__(self) -> None:
        if not self.qk_dims or len(self.qk_dims) != len(self.v_dims):
            raise KernelError(
                f"{len(self.qk_dims)} query/key widths and {len(self.v_dims)} value widths were given: "
                "each head needs one of both, and there must be at least one head"
            )
        wrong = [width for width in (*self.qk_dims, *self.v_dims) if not 1 <= width <= WIDEST]
        if wrong:
            raise KernelError(
                f"a head has the width {wrong[0]}, but the kernels take widths from 1 to {WIDEST}: "
                "split the head or use the library's attention"
            )

    @property
    def heads(self) -> int:
        """How many heads there are."""
        return len(self.v_dims)

    @property
    def row_width(self) -> int:
        """Elements in one row of the packed projection."""
        return 2 * sum(self.qk_dims) + sum(self.v_dims)

    @property
    def out_width(self) -> int:
        """Elements in one row of the output."""
        return sum(self.v_dims)

    @property
    def widest(self) -> int:
        """The largest width of any head, query/key or value."""
        return max(*self.qk_dims, *self.v_dims)

    @cached_property
    def offsets(self) -> tuple[tuple[int, int, int, int], ...]:
        """For each head, where its query, key, value and output begin, in elements."""
        keys = sum(self.qk_dims)
        qk = list(accumulate(self.qk_dims, initial=0))[:-1]
        v = list(accumulate(self.v_dims, initial=0))[:-1]
        return tuple((a, keys + a, 2 * keys + b, b) for a, b in zip(qk, v, strict=True))

    @cached_property
    def table(self) -> tuple[int, ...]:
        """The words of the table, int32, as `kernels/cuda/attention.cuh` describes them."""
        scale_bits = struct.unpack("<i", struct.pack("<f", self.scale))[0]
        words = [self.heads, self.row_width, self.out_width, scale_bits]
        for qk, v, (q_at, k_at, v_at, out_at) in zip(self.qk_dims, self.v_dims, self.offsets, strict=True):
            qk_packs = not any(n % PACK for n in (qk, q_at, k_at, self.row_width))
            v_packs = not any(n % PACK for n in (v, v_at, out_at, self.row_width, self.out_width))
            words += [qk, v, q_at, k_at, v_at, out_at, int(qk_packs) + 2 * int(v_packs), 0]
        return tuple(words)

    def by_width(self) -> dict[tuple[int, int], list[int]]:
        """The heads of each pair of widths, so that heads of equal widths can be computed together."""
        groups: dict[tuple[int, int], list[int]] = {}
        for head, widths in enumerate(zip(self.qk_dims, self.v_dims, strict=True)):
            groups.setdefault(widths, []).append(head)
        return groups
