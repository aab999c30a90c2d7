"""The widths that pruning has left, and whether they are multiples of what kernels compute in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from secateur.benchmarks.checks import Check
from secateur.benchmarks.results_file import BenchResult

if TYPE_CHECKING:
    from torch import nn

USUAL = 8
"""What widths are best multiples of where nobody says otherwise: 16 bytes of fp16, which Tensor Cores load at once."""
NAMED = 3


def cut_widths(dense: nn.Module, pruned: nn.Module) -> dict[str, tuple[int, ...]]:
    """Of each weight `[out, in, ...]` that pruning has narrowed, the new widths, by the name of its module."""
    before = {name: tuple(one.shape) for name, one in dense.named_parameters() if one.ndim > 1}
    found = {}
    for name, weight in pruned.named_parameters():
        pairs = zip(before.get(name, ())[:2], tuple(weight.shape)[:2], strict=False)
        if cut := tuple(now for was, now in pairs if now != was):
            found[name.removesuffix(".weight")] = cut
    return found


def width_checks(candidate: BenchResult, align: int | None) -> Iterator[Check]:
    """The check that all widths which were cut are multiples of `align`."""
    if align is None:
        return
    cut = sum(map(len, candidate.widths.values()))
    off = _off(candidate.widths, align)
    said = f"{cut} widths that were cut are multiples of {align}"
    if off:
        said = f"{_said(off, cut, align)}: prune with plan.align: {align}"
    yield Check("widths", cut - sum(map(len, off.values())), cut, "fail" if off else "pass", said)


def width_note(candidate: BenchResult) -> Iterator[str]:
    """What may explain that a candidate is not as fast as it should be."""
    if off := _off(candidate.widths, USUAL):
        cut = sum(map(len, candidate.widths.values()))
        yield f"{_said(off, cut, USUAL)}, which may be why it is no faster (plan.align, --align)"


def _off(widths: Mapping[str, tuple[int, ...]], align: int) -> dict[str, list[int]]:
    off = {name: [width for width in cut if width % align] for name, cut in widths.items()}
    return {name: cut for name, cut in off.items() if cut}


def _said(off: Mapping[str, list[int]], cut: int, align: int) -> str:
    named = ", ".join(f"{name} {' and '.join(map(str, some))}" for name, some in list(off.items())[:NAMED])
    more = f" and {len(off) - NAMED} more" if len(off) > NAMED else ""
    count = sum(map(len, off.values()))
    return f"{count} of {cut} widths that were cut are no multiples of {align} ({named}{more})"
