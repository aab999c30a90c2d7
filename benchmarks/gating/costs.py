"""The gate's limits on what an image costs: MACs, bytes, energy; and whether 8 bits pay."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from secateur.benchmarks.bootstrap import Interval, ratio_interval
from secateur.benchmarks.checks import Check, Place, at_least, at_most, interval_check, place_name
from secateur.benchmarks.limits import Amount, Limits
from secateur.benchmarks.results_file import BenchResult
from secateur.core.errors import BenchError
from secateur.export.runner.sensors.energy import Energy


def cost_checks(candidate: BenchResult, limits: Limits, goals: Sequence[str]) -> Iterator[Check]:
    """The pruned side's MACs, and the size of what runs on each of the `goals`, targets with their precisions.

    A fraction is of the dense side's on the same goal. Raises `BenchError` where they are not in the file.
    """
    if limits.max_macs is not None:
        yield _macs_check(candidate, limits.max_macs)
    if limits.max_size is not None:
        for goal in [goal for goal in goals if goal in candidate.pruned.sizes]:
            pruned, dense = candidate.pruned.sizes[goal], candidate.dense.sizes.get(goal)
            check = _amount_check("size", pruned, dense, limits.max_size, "bytes")
            yield replace(check, target=goal, sentence=f"{goal}: {check.sentence}")
        rest = [goal for goal in goals if goal not in candidate.pruned.sizes]
        if typed := [goal for goal in rest if "@" in goal]:
            raise BenchError(
                f"a limit on the size was given, but that of {typed[0]} is not in the file: measure again with "
                "`secateur bench`, or name other targets with --target"
            )
        if rest or not goals:
            whole = candidate.pruned.size_bytes, candidate.dense.size_bytes
            yield _amount_check("size", *whole, limits.max_size, "bytes")


def _macs_check(candidate: BenchResult, amount: Amount) -> Check:
    found = _amount_check("macs", candidate.pruned.macs, candidate.dense.macs, amount, "MACs")
    if (missing := _uncounted(candidate, amount)) and (found.outcome == "pass" or amount.fraction):
        sentence = f"{found.sentence}, but not counted are {', '.join(missing)}"
        return replace(found, outcome="inconclusive", sentence=sentence)
    return found


def _amount_check(name: str, value: int | None, dense: int | None, amount: Amount, unit: str) -> Check:
    if value is None:
        raise BenchError(
            f"a limit on the {name} was given, but the candidate's file has none: measure again from a run"
        )
    limit = amount.of(dense, name)
    share = f" ({value / dense:.1%} of dense)" if dense else ""
    sentence = f"{value:,} {unit}{share}, at most {limit:,.0f} are allowed"
    return Check(name, value, limit, "pass" if value <= limit else "fail", sentence)


def energy_checks(candidate: BenchResult, keys: Mapping[Place, str], amount: Amount | None) -> Iterator[Check]:
    """The energy of an image above idle, in millijoules with its 95 % interval; of dense on the same rail.

    It is that of the rail which feeds the whole module, or else of the one that gives most: rails lie in each other.
    Raises `BenchError` where none was measured.
    """
    for place, key in keys.items() if amount is not None else ():
        assert amount is not None  # for the type checker: the loop is empty without
        found = _energies(candidate, place, key, "pruned")
        rail = max(found.values(), key=lambda one: (one.board, one.mj)).rail
        value, error = (number / place[1] for number in (found[rail].mj, found[rail].mj_error))
        limit, half = amount.value, error
        if amount.fraction:
            dense = _energies(candidate, place, key, "dense").get(rail)
            limit = amount.of(None if dense is None else dense.mj / place[1], "energy")
            assert dense is not None  # for the type checker: `of` raises without
            half = math.hypot(error, amount.value * dense.mj_error / place[1])
        at = Interval(value, value - half, value + half)
        sentence = (
            f"{place_name(place)}: {value:.3g} ± {half:.2g} mJ for an image on {rail}, at most {limit:.3g} are allowed"
        )
        yield interval_check("energy", at, limit, at_most(at, limit), sentence, place)


def eight_bit_checks(candidate: BenchResult, keys: Mapping[Place, str], seed: int, level: float) -> Iterator[Check]:
    """That 8 bits are faster than the fastest wider precision, where they are judged: else they cost accuracy only."""
    for one in candidate.narrowed:
        place = f"{one.target}@{one.precision}", one.wide_ms.batch
        if place not in keys:
            continue
        wide, narrow = one.wide_ms, one.narrow_ms
        found = ratio_interval(wide.samples, narrow.samples, seed, level, processes=wide.processes)
        said = f"{place_name(place)}: {one.precision} is {found} times as fast as {one.wider}, more than 1 is wanted"
        yield interval_check("8 bits", found, 1.0, at_least(found, 1.0), said, place)


def _energies(candidate: BenchResult, place: Place, key: str, model: str) -> dict[str, Energy]:
    """The energies of one side by rail."""
    seen = candidate.conditions.get(key)
    found = {one.rail: one for one in seen.energy if one.model == model} if seen else {}
    if not found:
        why = "; ".join(dict.fromkeys(seen.absent.values())) if seen else ""
        raise BenchError(
            f"a limit on energy was given, but that of the {model} side was not measured on {place_name(place)}"
            f"{f' ({why})' if why else ''}: power is read on devices (`secateur gate RUN --device NAME`)"
        )
    return found


def _uncounted(candidate: BenchResult, amount: Amount) -> list[str]:
    """The operations whose MACs are not in what a limit compares: the count is a lower bound only."""
    sides = (candidate.pruned, candidate.dense) if amount.fraction else (candidate.pruned,)
    return sorted({operation for side in sides for operation in side.unsupported})
