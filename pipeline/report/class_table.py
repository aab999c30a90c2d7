"""What each class lost: the accuracy of both models on the held-out images of every class."""

from __future__ import annotations

from secateur.benchmarks.gating.matched_pairs import Pairs
from secateur.benchmarks.results_file import BenchResult
from secateur.pipeline.data.classes import spelt_out
from secateur.pipeline.report.certainty import judged
from secateur.pipeline.report.folded_table import FoldedTable

HEADS = ("class", "images", "dense", "pruned", "change in points")
NUMBERS = frozenset(HEADS[1:])
SHOWN = 100
"""At most so many classes stand in the table: those that changed most."""


def class_table(bench: BenchResult) -> FoldedTable | None:
    """The classes with held-out images, those that lost most first; None where results are not told apart by class."""
    metric = bench.judged
    found = {name: pairs for name, pairs in (metric.by_class if metric else {}).items() if pairs.images}
    if not found:
        return None
    names = dict(zip(found, spelt_out(tuple(found)), strict=True))
    order = sorted(found, key=lambda name: -found[name].loss)
    if left := max(len(order) - SHOWN, 0):
        order = [*order[: SHOWN // 2], *order[-SHOWN // 2 :]]
    losses = [judged(*pairs.loss_interval(), 0) for pairs in found.values()]
    said = (
        f"{losses.count('gain')} of {len(found)} classes are shown to be worse by their own images, "
        f"{losses.count('loss')} to be better."
    )
    if left:
        said += f" Of all classes, {left} in the middle are left out."
    rows = tuple(_row(names[name], found[name]) for name in order)
    return FoldedTable("Accuracy of every class", said, HEADS, rows, NUMBERS)


def _row(name: str, pairs: Pairs) -> tuple[str, ...]:
    low, high = pairs.loss_interval()
    after = pairs.right - pairs.lost + pairs.won
    dense, pruned = (f"{100 * right / pairs.images:.0f} %" for right in (pairs.right, after))
    return name, str(pairs.images), dense, pruned, f"{-pairs.loss:+.0f} [{-high:+.0f}, {-low:+.0f}]"
