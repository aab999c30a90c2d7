"""The verdict on a run in one sentence: what it gained, what it cost, and what its intervals leave open."""

from __future__ import annotations

from dataclasses import dataclass

from secateur.benchmarks.results_file import BenchResult, Compared
from secateur.pipeline.report.certainty import Judged, change_of
from secateur.pipeline.report.table import faster, metric_change, speed


@dataclass(frozen=True)
class Verdict:
    """The sentence, and whether it is good news: a loss beside a gain is `unclear`, for it is the reader's to weigh."""

    sentence: str
    judged: Judged


def verdict_of(bench: BenchResult, guesses: bool = False) -> Verdict:
    """What a comparison shows, speed first; where the dense model itself `guesses`, that nothing was at stake."""
    speeds = [faster(found) for found in bench.speedup.values()]
    start = _costs(bench)
    words = f"{start}the pruned model is {_speeds(bench)}" if speeds else f"{start}the pruned model has no latency yet"
    metric, reached, unknown = bench.judged, "", False
    if metric is not None:
        change = change_of(metric, bench.evaluation_images)
        reached = change.judged
        unknown = change.unknown
        words += (
            f"{',' * unknown} {'and' if speeds or unknown else 'and it'} {_metric(metric, bench.evaluation_images)}"
        )
    shown: Judged = "unclear"
    if "loss" in speeds or (reached == "loss" and "gain" not in speeds):
        shown = "loss"
    elif speeds and set(speeds) == {"gain"} and reached != "loss" and not unknown:
        shown = "gain"
    if guesses and metric is not None:
        words += "; but the dense model itself only guesses, so that there was none to lose"
        shown = "loss" if shown == "loss" else "unclear"
    return Verdict(f"{words[0].upper()}{words[1:]}.", shown)


def _costs(bench: BenchResult) -> str:
    dense, pruned = bench.dense.macs, bench.pruned.macs
    return f"with {pruned / dense:.1%} of the MACs " if dense and pruned is not None else ""


def _speeds(bench: BenchResult) -> str:
    """What is shown of the speed on each target, with the interval on the first one; alike ones are put together."""
    (first, found), *more = bench.speedup.items()
    words = f"{speed(found)} on {first}"
    if faster(found) == "unclear":
        words = f"not shown to be faster on {first} ({speed(found)})"
    names = {"gain": "faster", "loss": "slower", "unclear": "not shown to be faster"}
    counted = [
        f"{names[kind]} on {' and '.join(alike)}"
        for kind in ("gain", "loss", "unclear")
        if (alike := [target for target, one in more if faster(one) == kind])
    ]
    return ", ".join([words, *counted])


def _metric(found: Compared, images: int | None) -> str:
    """What became of the metric that judges."""
    change, printed = change_of(found, images), metric_change(found, images)
    if change.judged != "unclear":
        return f"{'gains' if change.judged == 'gain' else 'loses'} {found.name} ({printed})"
    if change.unknown:
        return f"{images} images are too few to tell what its {found.name} has lost ({printed})"
    if not change.value:
        return f"keeps its {found.name}" + (f" ({printed})" if change.low is not None else "")
    if change.low is None:
        return f"changes its {found.name} by {printed}, without an interval"
    return f"is not shown to change its {found.name} ({printed})"
