"""The gate: does a candidate keep what it promises, and what a baseline had?

What is compared. Milliseconds are never compared between sessions: the machine, its clocks and its neighbours are in
them. Inside a session, dense and pruned were measured in turn, and the ratio of their times is the speedup; the
dense side is the control that cancels the machine. So

* one file: the candidate's speedup over its own dense side against `min_speedup`;
* two files: that too where `min_speedup` is given, and the candidate's speedup as a share of the baseline's against
  `min_relative`. That share says how much faster or slower the pruned model became, provided that both sessions are
  of one kind (`environment.kind`) and share their dense model, which is checked. The dense side's own time must not
  have drifted either: where both sides became slower alike, the ratio would not tell.

A ratio passes when its 95 % interval lies at or above the limit, fails when it lies below, and is else inconclusive:
measure for longer. So does an accuracy, because other images would give another; where a target runs another precision
than fp32 it is that of its engine (see `gating.accuracy`). Counts and sizes pass or fail as they are.

Where speed is judged, what was asked for and not measured (no GPU, an engine that was not built) is inconclusive,
unless the targets to judge are named and it is not among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from secateur.benchmarks.bootstrap import apart_interval, ratio_interval, relative_interval
from secateur.benchmarks.checks import Check, Outcome, Place, at_least, interval_check, place_name
from secateur.benchmarks.environment import differences, version_changes
from secateur.benchmarks.gating.accuracy import accuracy_checks
from secateur.benchmarks.gating.costs import cost_checks, eight_bit_checks, energy_checks
from secateur.benchmarks.gating.latency import drift_check, latency_checks
from secateur.benchmarks.gating.likeness import fidelity_checks, parity_checks
from secateur.benchmarks.gating.preconditions import precondition_checks, unknown_precisions
from secateur.benchmarks.gating.widths import width_checks, width_note
from secateur.benchmarks.keys import split_key
from secateur.benchmarks.limits import RELATIVE, Limits
from secateur.benchmarks.modes.mode import without_mode
from secateur.benchmarks.results_file import BenchResult
from secateur.core.errors import BenchError
from secateur.core.html_table import html_table

EXIT_CODES: dict[Outcome, int] = {"pass": 0, "fail": 1, "inconclusive": 3}
ADVICE = {
    "measured": "; measure it where it can run, or name the targets to judge (--target)",
    "throttling": "; let the device cool down or lower its clocks for good, and measure again",
    "accuracy": "; measure again with `secateur bench`",
    "top1": "; give more held-out images",
    "drop": "; give more held-out images, or allow more",
    "fidelity": "; compare the maps of more images (report.images)",
    "drift": "; measure again on a quiet machine, or a new baseline where it has changed for good",
    "macs": "; add a handler for them to benchmarks/mac_handlers.py, or limit the latency instead",
}
"""What to do about a check that is inconclusive for another reason than its interval."""
FELL = 3.0
"""Points that a dense model may be worse than at the baseline: more than other held-out images of it usually say."""
SPEED = ("speedup", "relative", "latency", "8 bits")
"""The checks that widths may decide."""


@dataclass(frozen=True)
class Verdict:
    """All checks and what follows: one failure fails, else one doubt is inconclusive.

    `level` is that of every interval, `tries` how often latency was measured (see `gating.retries`).
    """

    outcome: Outcome
    checks: tuple[Check, ...]
    notes: tuple[str, ...]
    level: float = 0.95
    tries: int = 1

    @property
    def exit_code(self) -> int:
        """0 pass, 1 fail, 3 inconclusive."""
        return EXIT_CODES[self.outcome]

    @property
    def interval(self) -> str:
        """What its intervals are called."""
        return f"{100 * self.level:.3g} % interval"

    @property
    def sentence(self) -> str:
        """The verdict in one line, with the first check that decided it."""
        decisive = [check for check in self.checks if check.outcome == self.outcome]
        counted = f" ({len(decisive)} of {len(self.checks)} checks)" if len(self.checks) > 1 else ""
        counted += f" after {self.tries} tries" if self.tries > 1 else ""
        advice = ADVICE.get(
            decisive[0].name, "; measure again (--retries) or for longer (bench.seconds) on a quiet machine"
        )
        return f"{self.outcome}{counted}: {decisive[0].sentence}{advice if self.outcome == 'inconclusive' else ''}"

    def _repr_html_(self) -> str:
        """The verdict as a notebook shows it: a row for each check."""
        rows: list[tuple[object, ...]] = [(check.name, check.outcome, check.sentence) for check in self.checks]
        return html_table(
            self.sentence, ("check", "outcome", ""), [*rows, *(("note", "", note) for note in self.notes)]
        )


def together(verdicts: Mapping[str, Verdict]) -> Verdict:
    """One verdict on several devices, by their names: each check and note says whose it is, and the worst decides."""
    checks = [
        replace(check, device=name, sentence=f"{name}: {check.sentence}")
        for name, verdict in verdicts.items()
        for check in verdict.checks
    ]
    notes = [f"{name}: {note}" for name, verdict in verdicts.items() for note in verdict.notes]
    tries = max(verdict.tries for verdict in verdicts.values())
    outcome = _worst(verdict.outcome for verdict in verdicts.values())
    return Verdict(outcome, tuple(checks), tuple(notes), next(iter(verdicts.values())).level, tries)


def judge(
    candidate: BenchResult,
    baseline: BenchResult | None,
    limits: Limits,
    seed: int = 0,
    level: float = 0.95,
    fidelity: Sequence[float] = (),
) -> Verdict:
    """The verdict on `candidate`, alone or against `baseline`; the module's first lines say what is compared.

    `level` is that of every interval, `fidelity` the cosine of both models' maps for each image. Without any limit a
    lone candidate must be faster than its dense side (`min_speedup` 1), and one with a baseline must keep 95 % of its
    speedup. Raises `BenchError` when the two cannot be compared or a file lacks what a limit is about.
    """
    if baseline is None and limits.min_relative is not None:
        raise BenchError("min_relative is a share of a baseline's speedup: give a baseline's bench.json too")
    if baseline is None and limits.max_drift is not None:
        raise BenchError("max_drift is about the dense side of a baseline: give a baseline's bench.json too")
    if baseline is not None and not (baseline.in_turn and candidate.in_turn):
        raise BenchError(
            "a baseline is about ratios whose sides were measured in turn, and those of trtexec were not: judge them "
            "alone"
        )
    min_speedup = limits.min_speedup
    if baseline is None and limits.empty:
        min_speedup = 1.0
    notes: list[str] = list(candidate.notes)
    checks: list[Check] = []
    goals = _goals(candidate, limits.targets)
    timed = baseline is not None or min_speedup is not None or limits.timed
    if timed or limits.max_energy is not None:
        keys = _chosen(candidate, limits.targets)
        if baseline is not None:
            _check_same_dense(candidate, baseline)
            if limits.max_drop is not None:
                _check_same_metric(candidate, baseline)
            _check_covered(candidate, baseline, limits.targets)
        for place, key in keys.items():
            if min_speedup is not None:
                checks.append(_speedup_check(candidate, place, key, min_speedup, seed, level))
            checks += latency_checks(candidate, place, key, limits, seed, level)
            if baseline is not None:
                checks += _relative_checks(candidate, baseline, place, key, limits, seed, level, notes)
        if baseline is not None and not any(check.name == "relative" for check in checks):
            raise BenchError(
                f"baseline and candidate share no target: {_named(_keys(baseline))} and {_named(_keys(candidate))}"
            )
        checks += eight_bit_checks(candidate, keys, seed, level) if timed else ()
        checks += energy_checks(candidate, keys, limits.max_energy)
        checks += precondition_checks(candidate, keys, _asked(candidate, limits.targets))
        checks += _unmeasured(candidate, limits.targets)
        notes += unknown_precisions(candidate, goals)
        if any(check.name in SPEED and check.outcome != "pass" for check in checks):
            notes += width_note(candidate)
    notes += [check.sentence for check in _unmeasured(candidate, limits.targets)]
    checks += cost_checks(candidate, limits, goals)
    checks += width_checks(candidate, limits.align)
    checks += accuracy_checks(candidate, limits, goals, level)
    checks += parity_checks(candidate, goals, limits.max_parity)
    checks += fidelity_checks(fidelity, limits.min_fidelity, level)
    return Verdict(_worst(check.outcome for check in checks), tuple(checks), tuple(dict.fromkeys(notes)), level)


def _worst(outcomes: Iterable[Outcome]) -> Outcome:
    """A failure, else a doubt, else a pass."""
    return min(outcomes, key=("fail", "inconclusive", "pass").index, default="pass")


def _keys(result: BenchResult) -> dict[Place, str]:
    """The keys of a result by target and batch: the same measurement has another key beside other batches."""
    return {(split_key(key)[0], result.dense.latency_ms[key].batch): key for key in result.speedup}


def _wanted(place: Place, words: tuple[str, ...]) -> bool:
    return not words or place[0] in words or f"{place[0]}@b{place[1]}" in words


def _chosen(candidate: BenchResult, words: tuple[str, ...]) -> dict[Place, str]:
    found = {place: key for place, key in _keys(candidate).items() if _wanted(place, words)}
    for word in words:
        if not any(_wanted(place, (word,)) for place in found):
            raise BenchError(f"the candidate was not measured on {word}{_reason(candidate, word)}")
    if not found:
        reasons = "; ".join(f"{target}: {reason}" for target, reason in candidate.skipped.items())
        raise BenchError(f"the candidate was measured on no target{f' ({reasons})' if reasons else ''}")
    return found


def _goals(candidate: BenchResult, words: tuple[str, ...]) -> list[str]:
    """The targets, with their precisions, that are judged."""
    keys = _chosen(candidate, words) if words else _keys(candidate)
    return list(dict.fromkeys(without_mode(target) for target, _ in keys))


def _asked(candidate: BenchResult, words: tuple[str, ...]) -> list[str]:
    """The targets, with their precisions, that were asked for and are judged, measured or not."""
    left_out = {split_key(key)[0] for key in candidate.skipped}
    wanted = (target for target in left_out if not words or target in {split_key(word)[0] for word in words})
    return list(dict.fromkeys([*_goals(candidate, words), *map(without_mode, sorted(wanted))]))


def _unmeasured(candidate: BenchResult, words: tuple[str, ...]) -> list[Check]:
    """An inconclusive check for everything that was asked for, is not left out by `words`, and was not measured."""
    checks = []
    for key, reason in candidate.skipped.items():
        target, batch = split_key(key)
        of_word = {split_key(word) for word in words}
        if not words or (target, None) in of_word or (target, batch) in of_word:
            where = target if batch is None else place_name((target, batch))
            sentence = f"{where} was asked for and not measured ({reason})"
            checks.append(Check("measured", 0, 1, "inconclusive", sentence, target=target, batch=batch))
    return checks


def _check_covered(candidate: BenchResult, baseline: BenchResult, words: tuple[str, ...]) -> None:
    """Refuses a candidate that is silent where the baseline spoke: a regression could hide there."""
    measured = _keys(candidate)
    for place in _keys(baseline):
        if _wanted(place, words) and place not in measured:
            raise BenchError(
                f"the baseline was measured on {place[0]} with a batch of {place[1]}, the candidate was not"
                f"{_reason(candidate, f'{place[0]}@b{place[1]}')}: measure it there, or choose targets with --target"
            )


def _check_same_dense(candidate: BenchResult, baseline: BenchResult) -> None:
    for what in ("macs", "params"):
        before, after = getattr(baseline.dense, what), getattr(candidate.dense, what)
        if before is not None and after is None:
            raise BenchError(
                f"the baseline's dense model has {before:,} {what}, and those of the candidate's are not in its file: "
                "whether they are one model cannot be told; measure both in the same way"
            )
        if before is not None and before != after:
            raise BenchError(
                f"baseline and candidate were measured against different dense models ({before:,} and {after:,} "
                f"{what}): their speedups cannot be compared; measure a new baseline"
            )


def _check_same_metric(candidate: BenchResult, baseline: BenchResult) -> None:
    """Refuses a limit on a loss that is of another metric than the baseline's, or of a dense model that fell itself."""
    before, after = baseline.judged, candidate.judged
    if before is None or after is None:
        return
    if (before.name, before.unit) != (after.name, after.unit):
        names = [" in ".join(filter(None, (one.name, one.unit))) for one in (before, after)]
        raise BenchError(
            f"the baseline is judged by {names[0]} and the candidate by {names[1]}, of which max_drop is another "
            "limit: measure both alike"
        )
    fell = replace(after, dense=before.dense, pruned=after.dense).loss
    if after.unit == "%" and fell > FELL:
        raise BenchError(
            f"the dense model's {after.name} fell from {before.dense:.2f} % at the baseline to {after.dense:.2f} %, "
            "beside which max_drop says nothing: mend it, or measure a new baseline where that is meant"
        )


def _speedup_check(candidate: BenchResult, place: Place, key: str, limit: float, seed: int, level: float) -> Check:
    dense, pruned = _samples(candidate, key)
    if candidate.in_turn:
        found = ratio_interval(dense, pruned, seed, level, processes=candidate.dense.latency_ms[key].processes)
    else:
        found = apart_interval(dense, pruned, seed, level)
    sentence = f"{place_name(place)}: {found} times as fast as its dense side, at least {limit:g} is wanted"
    return interval_check("speedup", found, limit, at_least(found, limit), sentence, place)


def _relative_checks(
    candidate: BenchResult,
    baseline: BenchResult,
    place: Place,
    key: str,
    limits: Limits,
    seed: int,
    level: float,
    notes: list[str],
) -> list[Check]:
    other = _keys(baseline).get(place)
    if other is None:
        notes.append(f"{place_name(place)}: the baseline has no measurement there")
        return []
    apart = differences(baseline.environment, candidate.environment, place[0])
    if apart:
        raise BenchError(
            f"baseline and candidate are of different kinds on {place[0]} ({'; '.join(apart)}): ratios may be "
            "compared between machines of one kind only; measure a baseline on the candidate's kind of machine"
        )
    changes = version_changes(baseline.environment, candidate.environment)
    if changes:
        notes.append(f"changed since the baseline: {', '.join(changes)}")
    limit = limits.min_relative or RELATIVE
    parts = candidate.dense.latency_ms[key].processes, baseline.dense.latency_ms[other].processes
    found = relative_interval(_samples(candidate, key), _samples(baseline, other), seed, level, processes=parts)
    sentence = f"{place_name(place)}: {found} of the baseline's speedup, at least {limit:g} is wanted"
    return [
        interval_check("relative", found, limit, at_least(found, limit), sentence, place),
        drift_check(candidate, baseline, place, (key, other), limits, seed, level),
    ]


def _samples(result: BenchResult, key: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return result.dense.latency_ms[key].samples, result.pruned.latency_ms[key].samples


def _reason(result: BenchResult, word: str) -> str:
    reason = result.skipped.get(word) or result.skipped.get(split_key(word)[0])
    return f" ({reason})" if reason else f": it has {_named(_keys(result)) or 'no target'}"


def _named(keys: dict[Place, str]) -> str:
    return ", ".join(place_name(place) for place in keys)
