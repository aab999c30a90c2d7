"""What the next aligned widths of a layer would cost, timed beside its own ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from time import perf_counter

from secateur.benchmarks.bootstrap import Interval
from secateur.benchmarks.layers.alone import GRAPHS, Alone
from secateur.benchmarks.layers.match import Matched, Side
from secateur.benchmarks.layers.reasons import Neighbour
from secateur.benchmarks.paired import measure_pair
from secateur.benchmarks.runners import open_sides
from secateur.core.errors import EngineError, UnsupportedError
from secateur.core.say import Say
from secateur.export.targets import TypedTarget

SECONDS_UP = "the time for it was up, measure for more --seconds"

MULTIPLES = (8, 16, 32, 64)
"""Of how many channels kernels take the work at a time."""


@dataclass(frozen=True)
class Neighbours:
    """Times layers of the pruned widths beside aligned ones, each pair for `seconds`; see `reasons.explain`.

    No pair is begun after `most_seconds` in all. `timed` has what was measured, for layers of the same widths are timed
    once, and `notes` says which were not.
    """

    goal: TypedTarget
    batch: int
    threads: int | None
    seconds: float
    folder: Path
    most_seconds: float = inf
    say: Say = lambda message: None
    notes: list[str] = field(default_factory=list)
    timed: dict[tuple[Alone, Alone], Interval] = field(default_factory=dict)
    begun: float = field(default_factory=perf_counter)

    def __call__(self, layer: Matched) -> Iterator[Neighbour]:
        """Each multiple that the pruned widths miss, as far as the dense layer is that wide; one after the other."""
        dense, pruned = _product(layer.dense), _product(layer.pruned)
        if dense is None or pruned is None or self.goal.precision not in GRAPHS:
            return
        for multiple, aligned in aligned_widths(dense, pruned):
            known = (pruned, aligned) in self.timed
            if not known and perf_counter() - self.begun > self.most_seconds:
                self.notes.append(f"{layer.name} was not timed alone with multiples of {multiple}: {SECONDS_UP}")
                return
            try:
                if not known:
                    self.say(f"timing {layer.name} alone with multiples of {multiple}")
                    self.timed[pruned, aligned] = self._ratio(pruned, aligned)
            except (EngineError, UnsupportedError) as error:  # of an engine that cannot be built for one layer
                self.notes.append(f"{layer.name} cannot be timed alone with multiples of {multiple}: {error}")
                return
            found = self.timed[pruned, aligned]
            yield Neighbour(_words(pruned), _words(aligned), multiple, found, pruned.macs / aligned.macs)

    def _ratio(self, *layers: Alone) -> Interval:
        sides = [(layer.subject(self.goal, self.folder), self.goal) for layer in layers]
        with open_sides(sides, self.batch, self.threads) as (a, b):
            return measure_pair(a, b, seconds=self.seconds, warmup=self.seconds).interval()


def aligned_widths(dense: Alone, pruned: Alone) -> Iterator[tuple[int, Alone]]:
    """The pruned layer with the widths that pruning has changed rounded up to each multiple, each result once.

    Never beyond the dense widths; a multiple that they have already changes nothing and is left out.
    """
    tried = {pruned.widths}
    for multiple in MULTIPLES:
        taken, given = (
            min(-(-width // multiple) * multiple, before) if width != before else width
            for before, width in zip(dense.widths, pruned.widths, strict=True)
        )
        if (taken, given) not in tried and (pruned.groups == 1 or taken == given):
            tried.add((taken, given))
            yield multiple, pruned.widened(taken, given)


def _product(side: Side) -> Alone | None:
    """The product that does most of a layer's work; None where it is none that can be timed alone."""
    most = max(side.operations, key=lambda one: one.macs, default=None)
    return most.product if most is not None and 2 * most.macs > side.macs else None


def _words(layer: Alone) -> str:
    taken, given = layer.widths
    return f"{taken} to {given} channels"
