"""Measures a latency table: the model with one family of groups narrowed at a time, beside the dense one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from secateur.benchmarks.bench import why_not
from secateur.benchmarks.environment import environment
from secateur.benchmarks.runners import Subject
from secateur.core.errors import PlanError
from secateur.core.say import Say
from secateur.export.devices.device import Remote
from secateur.export.quantize.spec import Quantization
from secateur.export.spec import quantization_for
from secateur.export.targets import parse_target
from secateur.pipeline.plan.allocation import DEFAULT_KINDS
from secateur.pipeline.plan.kept_timings import KeptTimings
from secateur.pipeline.plan.latency_table import Curve, LatencyTable, OperationCurve
from secateur.pipeline.plan.precision_profile import check_precisions, operation_curves, wide_graph
from secateur.pipeline.plan.timing import Timing
from secateur.pipeline.structure.groups import Group, Groups, Kept
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.steps import removal_steps
from secateur.pipeline.structure.surgery import cut

SHARES = (0.25, 0.5, 0.75)


def profile(
    model: nn.Module,
    groups: Groups,
    target: str,
    kinds: Sequence[str] = DEFAULT_KINDS,
    batch: int = 1,
    align: int = 8,
    seconds: float = 3.0,
    threads: int | None = None,
    say: Say = lambda message: None,
    precisions: Sequence[str] = (),
    calibration: Iterable[Any] | None = None,
    options: Quantization | None = None,
    keep: Path | None = None,
    remote: Remote | None = None,
) -> LatencyTable:
    """The latencies of `model` on `target`, with the families of `kinds` narrowed to `SHARES` of their units in turn.

    All groups of a family are narrowed together, to widths that `align` allows, and the model is exported, built and
    timed in turns with the dense one for `seconds`; a family's saving is shared out evenly among its groups. With
    `precisions` (`int8`, `fp8`), operations are timed in these too (see `operation_curves`), in graphs that are made
    with `calibration` images and `options`, whose `rest` all other graphs are in (without any, fp32).
    The file `keep` has what was measured so far, for the same call to go on from after it was stopped; it is removed
    at the end. With `remote` all is built and timed on that device over ssh. Raises `PlanError` when no group is of the
    kinds, or for a target or precisions that cannot be timed, and what the target raises where it cannot be measured.

    >>> table = sc.profile(model, groups, "torch:cpu", kinds=("mlp_hidden",), align=32, seconds=0.05)
    >>> table.target, table.dense_ms > 0  # for budgets of latency: sc.Instruments(latencies=table)
    ('torch:cpu', True)
    """
    goal = parse_target(target)
    options = quantization_for(options, [target]) if options else Quantization(rest="fp32")
    check_precisions(goal, precisions, calibration)
    if remote is None and goal.device != "cpu" and (reason := why_not(goal)):
        raise PlanError(f"{goal} cannot be timed here: {reason}; name a device with --device")
    timing = Timing(goal, batch, threads, seconds, remote, say)
    families: dict[str, list[Group]] = {}
    for group in groups:
        if group.kind in kinds:
            families.setdefault(group.family or group.name, []).append(group)
    if not families:
        raise PlanError(f"no group is of the kinds {', '.join(kinds)}: give others with --kinds")
    widths = {family: _widths(groups, members, align) for family, members in families.items()}
    place = environment(threads)
    machine = replace(place, git_commit=None) if remote is None else remote.device
    identity = [groups.fingerprint(), str(goal), batch, align, seconds, threads, machine, options]
    timings = KeptTimings(keep, identity, sum(map(len, widths.values())), say)
    curves: list[Curve] = []
    dense: list[float] = []
    operations: tuple[OperationCurve, ...] = ()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        @cache
        def whole() -> Subject:
            return subject(model, "dense")

        def narrowed(kept: Kept, name: str) -> Subject:
            return subject(cut(model, groups, plan_from_kept(groups, kept)), name)

        def subject(part: nn.Module, name: str) -> Subject:
            if goal.runtime == "torch":
                return Subject(name, module=part, inputs=groups.inputs)
            return timing.subject(wide_graph(part, groups, folder / f"{name}.onnx", options.rest, calibration))

        for family, members in families.items():
            points = {1.0: (0.0, 0.0, 0.0)}
            for kept in widths[family]:
                share = float(np.mean([len(kept[group.name]) / group.units for group in members]))
                small = partial(narrowed, kept, f"{len(curves)}-{share:.3f}")
                found = timings.saved(f"{family} at {share:.0%}", timing, whole, small)
                dense.append(found.base_ms)
                place = found.environment or place
                shared = [value / len(members) for value in (found.saved_ms, found.low_ms, found.high_ms)]
                points[share] = (shared[0], shared[1], shared[2])
            shares = tuple(sorted(points))
            saved, low, high = (tuple(points[share][place] for share in shares) for place in range(3))
            curves.append(Curve(family, shares, saved, low, high))
        if precisions and calibration is not None:
            every = [group for members in families.values() for group in members]
            narrower = [
                (cut(model, groups, plan_from_kept(groups, kept)), kept)
                for kept in _widths(groups, every, align, (0.5,))
            ]
            operations = operation_curves(
                *([(model, {}), *narrower], groups, precisions, calibration, options, timing, folder, timings)
            )
    timings.finish()
    return LatencyTable(
        target,
        batch,
        groups.fingerprint(),
        float(np.median(dense)),
        tuple(curves),
        place,
        options.rest,
        operations,
    )


def _widths(groups: Groups, members: Sequence[Group], align: int, shares: Sequence[float] = SHARES) -> list[Kept]:
    """Choices that keep about such `shares` of each member's units, aligned, the first ones going."""
    found: dict[int, Kept] = {}
    for share in shares:
        kept = {}
        for group in members:
            steps = removal_steps(group, np.zeros(group.units), align, 1)
            count = round((1 - share) * len(steps))
            gone = {unit for step in steps[:count] for unit in step.units}
            kept[group.name] = [unit for unit in range(group.units) if unit not in gone]
        total = sum(len(units) for units in kept.values())
        if total < sum(group.units for group in members):
            found[total] = kept
    return list(found.values())
