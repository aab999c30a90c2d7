"""Energy of an inference on each target, and what spoilt the measurement."""

from __future__ import annotations

from secateur.benchmarks.results_file import BenchResult
from secateur.pipeline.report.folded_table import FoldedTable

HEADS = ("target", "model", "rail", "mJ an inference", "idle W", "running W")


def energy_table(bench: BenchResult) -> FoldedTable | None:
    """The energy above idle by target, model and rail; None where none was measured."""
    rows = tuple(
        (
            target,
            one.model,
            one.rail,
            f"{one.mj:.3g} ± {one.mj_error:.2g}",
            f"{one.idle_w:.2f} ± {one.idle_error_w:.2g}",
            f"{one.run_w:.2f} ± {one.run_error_w:.2g}",
        )
        for target, found in bench.conditions.items()
        for one in found.energy
    )
    if not rows:
        return None
    said = "Above what the idle device takes; ± is half of the 95 % interval."
    return FoldedTable("Energy of an inference", said, HEADS, rows, frozenset(HEADS[3:]), unfolded=True)


def conditions_of(bench: BenchResult) -> list[str]:
    """What was held back on the device, and where it was not watched, in sentences."""
    return [
        f"{target}: {words}"
        for target, found in bench.conditions.items()
        for words in (*(f"throttled: {one}" for one in found.throttled), *found.faults)
    ]
