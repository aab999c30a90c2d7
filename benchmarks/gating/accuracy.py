"""The gate's limits on accuracy: of the model, and of each engine in another precision for itself.

What is judged are shares of held-out images, which other images would give otherwise: by their 95 % intervals. A loss
is that on the same images (see `matched_pairs`); a file without results by image is judged as if both sides had seen
images of their own, and a metric that is no share of the images as the number that it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from secateur.benchmarks.bootstrap import Interval
from secateur.benchmarks.checks import Check, Outcome, at_least, at_most
from secateur.benchmarks.gating.shares import loss_interval, share_interval
from secateur.benchmarks.keys import TOP1
from secateur.benchmarks.limits import Limits
from secateur.benchmarks.results_file import BenchResult, Compared
from secateur.core.errors import BenchError


@dataclass(frozen=True)
class _Judged:
    """What is judged: the metric of the model (`goal` None) or of an engine, on so many images, at a level."""

    goal: str | None
    metric: Compared
    images: int | None
    level: float

    def check(self, name: str, value: float, limit: float, outcome: Outcome, said: str, at: Interval | None) -> Check:
        """A check of it; what an interval leaves open names the images that could tell."""
        where = f"{self.goal}: " if self.goal else ""
        if outcome == "inconclusive" and at is not None and self.images:
            far = abs(value - limit)
            could = math.ceil(self.images * ((at.high - at.low) / 2 / far) ** 2) if far > 0 else 0
            said += f", which {self.images} images cannot tell" + f" (about {could:,} could)" * bool(could)
        low, high = (None, None) if at is None else (at.low, at.high)
        return Check(name, value, limit, outcome, where + said, low, high, self.goal)


def accuracy_checks(candidate: BenchResult, limits: Limits, goals: Sequence[str], level: float) -> Iterator[Check]:
    """The checks of `min_top1` and `max_drop` for what `goals` run: the model itself, and each other precision.

    Raises `BenchError` where the candidate has no such metric.
    """
    if limits.min_top1 is None and limits.max_drop is None:
        return
    typed = [goal for goal in goals if goal in candidate.accuracy or "@" in goal]
    if not typed or len(typed) < len(goals):
        yield from _checks(candidate, limits, None, level)
    for goal in typed:
        if goal in candidate.accuracy:
            yield from _checks(candidate, limits, goal, level)
        else:
            sentence = f"what {goal} has right was not measured, and the model's accuracy is not that of its engine"
            yield Check("accuracy", 0, 1, "inconclusive", sentence, target=goal)


def _checks(candidate: BenchResult, limits: Limits, goal: str | None, level: float) -> Iterator[Check]:
    metric = candidate.accuracy[goal] if goal else candidate.judged
    images = metric.pairs.images if metric and metric.pairs else candidate.evaluation_images
    if limits.min_top1 is not None:
        if metric is None or metric.name != TOP1:
            yield _top1(_Judged(goal, Compared(TOP1, 0, _known(candidate)), images, level), limits.min_top1)
        else:
            yield _top1(_Judged(goal, metric, images, level), limits.min_top1)
    if limits.max_drop is not None:
        if metric is None:
            raise BenchError("a limit on the loss of accuracy was given, but the candidate has no metric and no top1")
        yield _drop(_Judged(goal, metric, images, level), limits.max_drop)


def _known(candidate: BenchResult) -> float:
    """The pruned side's top-1, where its dense side has none."""
    if (top1 := candidate.pruned.top1) is not None:
        return top1
    other = f", which is judged by {candidate.metric.name}: limit that with max_drop" if candidate.metric else ""
    raise BenchError(f"a limit on top-1 was given, but there is no top1 of the candidate's pruned side{other}")


def _top1(judged: _Judged, limit: float) -> Check:
    value, wanted = judged.metric.pruned, f"at least {limit:g} % is wanted"
    if not judged.images:
        said = f"top-1 {value:.2f} % (the file does not say on how many images), {wanted}"
        return judged.check("top1", value, limit, "pass" if value >= limit else "fail", said, None)
    low, high = share_interval(value, judged.images, judged.level)
    found = Interval(value, low, high)
    said = f"top-1 {value:.2f} % [{low:.2f}, {high:.2f}] ({judged.images} images), {wanted}"
    return judged.check("top1", value, limit, at_least(found, limit), said, found)


def _drop(judged: _Judged, limit: float) -> Check:
    metric, images = judged.metric, judged.images
    drop, percent = metric.loss, metric.unit == "%"
    if percent and not -100 <= limit <= 100:
        raise BenchError(f"got max_drop {limit}: give percentage points, such as 1.0")
    allowed = f"at most {limit:g} {'are' if percent else 'is'} allowed"
    found, how = None, f"as a number, without an interval: {f'{images} images' if images else 'images'} without results"
    if (ends := loss_interval(metric, images, judged.level)) is not None:
        found = Interval(drop, *ends)
        how = f"as of other images on each side, {images} of them: this file does not tell them apart"
    if metric.pairs is not None:
        how = f"the same {images} images: {metric.pairs.lost} lost, {metric.pairs.won} won"
    if found is None:  # a drop of one point is 1.0000000000000142 of two floats
        amount = f"{drop:.2f} points" if percent else f"{drop:.4g}"
        said = f"{metric.name} is worse by {amount} ({how} one by one), {allowed}"
        return judged.check("drop", drop, limit, "pass" if drop <= limit + 1e-9 else "fail", said, None)
    said = f"{metric.name} is worse by {drop:.2f} [{found.low:.2f}, {found.high:.2f}] points ({how}), {allowed}"
    return judged.check("drop", drop, limit, at_most(found, limit), said, found)
