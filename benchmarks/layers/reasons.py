"""Why a layer lost MACs but no time: a sentence that follows from what was measured, or says that nothing shows it.

A layer without MACs has a sentence where it is slower than on the dense side and other operations run for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from secateur.benchmarks.bootstrap import Interval
from secateur.benchmarks.layers.layers_file import Roofline
from secateur.benchmarks.layers.match import Matched
from secateur.benchmarks.layers.operations import Operation

GAINED = 0.25
"""The share of what its MACs promise that a layer must be able to have gained, or else it is explained."""

BLAMED = 0.5
"""The share of the time not saved that operations must take to be what it went to."""

FLOORS = 2.0
"""A layer that takes so many times as long as one with nothing to do is too small to become faster."""

BUSY = (0.5, 1.25)
"""The shares of the memory's bandwidth between which a layer counts as waiting for it: above, caches serve it."""

UNKNOWN = "not known: nothing that was measured shows why"


@dataclass(frozen=True)
class Neighbour:
    """A layer of the pruned widths beside one of the next aligned ones, each timed alone on the target.

    `ratio` is the pruned one's time over the aligned one's, `macs` the pruned one's MACs over the aligned one's.
    """

    widths: str
    aligned: str
    multiple: int
    ratio: Interval
    macs: float

    @property
    def free(self) -> bool:
        """Whether the aligned widths are shown to cost no more time, though they have more MACs.

        Where time follows the MACs the ratio is `macs`: all of the interval must be nearer to 1 than to that.
        """
        return self.ratio.ratio >= 0.99 and self.ratio.low >= (1 + self.macs) / 2


Ask = Callable[[Matched], Iterable[Neighbour]]


def gained_little(layer: Matched) -> bool:
    """Whether a layer with fewer MACs is not shown to be faster, or is by less than `GAINED` of what they promise."""
    if layer.speedup is None or not 0 < layer.pruned.macs < layer.dense.macs:
        return False
    promised = layer.dense.macs / layer.pruned.macs - 1
    return layer.speedup.low <= 1 or layer.speedup.high < 1 + GAINED * promised


def became_slower(layer: Matched) -> bool:
    """Whether a layer without MACs, such as a normalisation, is shown to take longer than on the dense side."""
    return layer.speedup is not None and not layer.dense.macs + layer.pruned.macs and layer.speedup.high < 1


def explain(layer: Matched, roofline: Roofline, provider: str = "", neighbours: Ask = lambda layer: ()) -> str:
    """Why `layer` lost MACs but no time; empty where it gained, and where no reason is shown `UNKNOWN`.

    A layer without MACs that became slower is explained where other operations run for it; it is never `UNKNOWN`.
    `provider` is the one that was asked for; `neighbours` times the next aligned widths, when nothing else explains.
    """
    if not (gained_little(layer) or became_slower(layer)):
        return ""
    if structural := _fallback(layer, provider) or _copies(layer, roofline) or _fusion(layer, roofline):
        return structural
    if not layer.dense.macs:
        return ""
    if other_kernel := _kernel(layer):
        return _unaligned(neighbours(layer)) or other_kernel
    return _small(layer, roofline) or _memory(layer, roofline) or _unaligned(neighbours(layer)) or UNKNOWN


def fell_back(operations: Sequence[Operation], provider: str) -> list[Operation]:
    """The operations that another provider ran than the one that was asked for."""
    return [one for one in operations if provider and one.provider and one.provider != provider]


def _fallback(layer: Matched, provider: str) -> str:
    """Provider fallback: the pruned layer's operations run on another provider, where the dense one's do not."""
    fallen, before = fell_back(layer.pruned.operations, provider), fell_back(layer.dense.operations, provider)
    if not fallen or len(fallen) <= len(before):
        return ""
    others = ", ".join(dict.fromkeys(one.provider for one in fallen))
    return f"provider fallback: {_kinds(fallen)} of the pruned layer run on {others}, not on {provider}"


def _copies(layer: Matched, roofline: Roofline) -> str:
    """Copies: operations that only move tensors, which the dense layer does without, take what should be saved."""
    added = _added(layer, moves=True)
    if not _to_blame(layer, added, roofline):
        return ""
    taken = layer.pruned.ms_of(added)
    return f"copies: {_kinds(added)}, which the dense layer does without, take {taken:.3f} ms"


def _fusion(layer: Matched, roofline: Roofline) -> str:
    """Lost fusion: operations of their own, whose work is inside of another one on the dense side."""
    fused = [one for one in layer.dense.operations if len(one.does) > 1]
    inside = {kind for one in fused for kind in one.does}
    added = [one for one in _added(layer, moves=False) if one.does and inside.issuperset(one.does)]
    if not _to_blame(layer, added, roofline):
        return ""
    taken, lost = layer.pruned.ms_of(added), {kind for one in added for kind in one.does}
    where = [one for one in fused if lost.intersection(one.does)]
    return (
        f"lost fusion: {_kinds(added)} of the pruned layer take {taken:.3f} ms on their own, and are inside of "
        f"{_kinds(where)} in the dense layer"
    )


def _small(layer: Matched, roofline: Roofline) -> str:
    """Too small: it takes hardly longer than as many operations that have next to nothing to do."""
    count = len(layer.pruned.operations)
    taken, floor = float(sum(layer.pruned.medians)), roofline.floor_ms * count
    if taken > FLOORS * floor:
        return ""
    many = "an operation" if count == 1 else f"{count} operations"
    return (
        f"too small to fill the device: it takes {taken:.4f} ms in {many}, and as many with next to nothing to do take "
        f"{floor:.4f} ms"
    )


def _memory(layer: Matched, roofline: Roofline) -> str:
    """Memory-bound: it moves its bytes about as fast as the memory can, and these explain its time better than MACs."""
    assert layer.speedup is not None  # for the type checker: who has none is not explained
    taken, moved = float(sum(layer.pruned.medians)), layer.pruned.bytes_moved
    if not layer.dense.bytes_moved or not moved or layer.pruned.macs / moved >= roofline.ridge:
        return ""
    kept, macs, time = moved / layer.dense.bytes_moved, layer.pruned.macs / layer.dense.macs, 1 / layer.speedup.ratio
    speed = moved / (taken / 1e3)
    if not BUSY[0] <= speed / roofline.bytes_per_s <= BUSY[1] or kept < (time + macs) / 2:
        return ""
    return (
        f"memory-bound: it moves {moved / 1e6:.2f} MB at {speed / 1e9:.1f} of {roofline.bytes_per_s / 1e9:.1f} GB/s, "
        f"and has {kept:.0%} of the dense layer's bytes beside {macs:.0%} of its MACs"
    )


def _unaligned(neighbours: Iterable[Neighbour]) -> str:
    """Unaligned widths: the next aligned ones were timed, and cost no more."""
    for one in neighbours:
        if one.free:
            return (
                f"unaligned widths: {one.aligned} (multiples of {one.multiple}) take {1 / one.ratio.ratio:.2f} times "
                f"the time of {one.widths} and have {1 / one.macs:.2f} times the MACs, timed alone"
            )
    return ""


def _kernel(layer: Matched) -> str:
    """Another kernel: the runtime has chosen another kind of product for the pruned widths."""
    dense, pruned = ([one for one in side.operations if one.macs] for side in (layer.dense, layer.pruned))
    if {one.kind for one in dense} == {one.kind for one in pruned}:
        return ""
    taken = layer.pruned.ms_of(pruned)
    return f"another kernel: {_kinds(pruned)} takes {taken:.3f} ms, where the dense layer runs {_kinds(dense)}"


def _added(layer: Matched, moves: bool) -> list[Operation]:
    """The pruned layer's operations of kinds that the dense layer has fewer of, the surplus of each kind."""
    left = Counter(one.kind for one in layer.dense.operations)
    found = []
    for one in layer.pruned.operations:
        if left[one.kind] > 0:
            left[one.kind] -= 1
        elif one.moves == moves and not one.macs:
            found.append(one)
    return found


def _to_blame(layer: Matched, added: Sequence[Operation], roofline: Roofline) -> bool:
    """Whether operations take enough of the time that the layer's MACs promise and that it did not save.

    Only what they take beyond the floor counts, which is for the most part the profiler's own.
    """
    kept = layer.pruned.macs / layer.dense.macs if layer.dense.macs else 1.0
    promised = float(sum(layer.dense.medians)) * kept
    unsaved = float(sum(layer.pruned.medians)) - promised
    taken = layer.pruned.ms_of(added) - roofline.floor_ms * len(added)
    return taken > 0 and taken >= BLAMED * unsaved


def _kinds(operations: Sequence[Operation]) -> str:
    """The kinds of operations in words: `Relu and 2 Transpose`."""
    counts = Counter(one.kind for one in operations)
    words = [kind if count == 1 else f"{count} {kind}" for kind, count in counts.items()]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
