"""What must hold before a time means anything: the precision and the provider as asked, and nothing held back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from secateur.benchmarks.checks import Check, Place, place_name
from secateur.benchmarks.gating.ran import Ran
from secateur.benchmarks.results_file import BenchResult

LEAST_SHARE = 0.9
"""Of the products that no rule of the export keeps otherwise, those that must run in the precision that was asked for.

Where a share s runs twice as fast, all of them take 1 - s / 2 of the time (Amdahl): nine of ten keep 91 % of what
halving the arithmetic can give, one of fifty nothing.
"""
NAMED = 3
"""Names in a sentence; the others are counted."""


def precondition_checks(candidate: BenchResult, keys: Mapping[Place, str], goals: Sequence[str]) -> Iterator[Check]:
    """A check for each kind of precondition that is known to hold, or one for each target that it does not hold for.

    `goals` are the targets with their precisions that were asked for, measured or not; another precision or provider
    than was asked for fails, and throttling is inconclusive.
    """
    known = [
        (goal, name, side.ran[goal])
        for goal in goals
        for name, side in (("dense", candidate.dense), ("pruned", candidate.pruned))
        if goal in side.ran
    ]
    typed = [one for one in known if one[2].products]
    share = min((ran.share(goal.partition("@")[2] or "fp32") for goal, _, ran in typed), default=1.0)
    kept = sum(ran.kept for _, _, ran in typed)
    more = f", {share:.0%} of their products at least" if share < 1 else ""
    more += f"; the rules of the export keep {_times(kept, 'product')} in another one" if kept else ""
    yield from _summed_up("precision", [_precision(*one) for one in typed], "in the precision", more)
    yield from _summed_up("provider", [_provider(*one) for one in known if one[2].provider], "on the provider")
    watched = {place: candidate.conditions[key] for place, key in keys.items() if key in candidate.conditions}
    held = [(place, seen.throttled) for place, seen in watched.items() if seen.throttled]
    for place, sentences in held:
        said = f"{place_name(place)}: the device was held back while it was measured ({'; '.join(sentences)})"
        yield Check("throttling", 0, 1, "inconclusive", said, target=place[0], batch=place[1])
    if watched and not held and all(seen.clean for seen in watched.values()):
        count = len(watched)
        yield Check("throttling", count, count, "pass", f"nothing was held back in {_times(count, 'measurement')}")


def unknown_precisions(candidate: BenchResult, goals: Sequence[str]) -> Iterator[str]:
    """A note for each engine in another precision than fp32 of which nobody could tell what it runs in."""
    for goal in goals:
        ran = candidate.pruned.ran.get(goal)
        if "@" in goal and (ran is None or not (ran.products or ran.provider)):
            yield f"{goal}: it is not known in which precision this engine runs"


def _precision(goal: str, side: str, ran: Ran) -> Check | None:
    """A failure where too few of the products run in the precision that was asked for."""
    asked = goal.partition("@")[2] or "fp32"
    share = ran.share(asked)
    if share >= LEAST_SHARE:
        return None
    found = " and ".join(f"{count} in {word}" for word, count in ran.products.items())
    said = f"{goal}: {asked} was asked for, but the {side} side runs its products otherwise ({found})"
    if asked in ran.products:
        kept = f" (beside {ran.kept} that are kept so)" if ran.kept else ""
        said = (
            f"{goal}: {asked} was asked for, but only {share:.0%} of the products of the {side} side run in it "
            f"({found}), at least {LEAST_SHARE:.0%} must: in another precision are {_first(ran.otherwise)}{kept}"
        )
    return Check("precision", share, LEAST_SHARE, "fail", said, target=goal)


def _provider(goal: str, side: str, ran: Ran) -> Check | None:
    """A failure where another provider took over, all of it or nodes that matter."""
    from secateur.export.ort_engine import PROVIDERS

    asked = PROVIDERS[goal.partition("@")[0].partition(":")[2]]
    if ran.provider == asked and not ran.elsewhere:
        return None
    said = f"ONNX Runtime fell back to {ran.provider} for the {side} side"
    if ran.provider == asked:
        total = sum(ran.nodes.values())
        said = f"{len(ran.elsewhere)} of {total} nodes of the {side} side run elsewhere: {_first(ran.elsewhere)}"
    return Check("provider", 0, 1, "fail", f"{goal}: {asked} was asked for, but {said}", target=goal)


def _first(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED]) or 'layers that have no name here'}{more}"


def _summed_up(name: str, found: Sequence[Check | None], words: str, more: str = "") -> Iterator[Check]:
    failures = [check for check in found if check is not None]
    yield from failures
    if found and not failures:
        count = len(found)
        said = f"{_times(count, 'model')} ran {words} that was asked for{more}"
        yield Check(name, count, count, "pass", said)


def _times(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' if count > 1 else ''}"
