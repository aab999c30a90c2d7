"""Measures a latency table: the model with one family of groups narrowed at a time, beside the dense one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
from torch import nn

from secateur.benchmarks.environment import environment
from secateur.benchmarks.paired import measure_pair
from secateur.benchmarks.runners import Subject, make_runner
from secateur.core.errors import PlanError
from secateur.export.engines import build_engine
from secateur.export.targets import parse_target
from secateur.export.to_onnx import export_onnx
from secateur.pipeline.plan.allocation import DEFAULT_KINDS
from secateur.pipeline.plan.latency_table import Curve, LatencyTable
from secateur.pipeline.structure.groups import Group, Groups, Kept
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.steps import removal_steps
from secateur.pipeline.structure.surgery import cut

SHARES = (0.25, 0.5, 0.75)
Say = Callable[[str], None]


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
) -> LatencyTable:
    """The latencies of `model` on `target`, with the families of `kinds` narrowed to `SHARES` of their units in turn.

    All groups of a family are narrowed together, to widths that `align` allows, and the model is exported, built and
    timed in turns with the dense one for `seconds`; a family's saving is shared out evenly among its groups. Raises
    `PlanError` when no group is of the kinds, and what the target raises where it cannot be measured.

    >>> table = sc.profile(model, groups, "torch:cpu", kinds=("mlp_hidden",), seconds=0.05)
    >>> table.target, table.dense_ms > 0  # for budgets of latency: sc.Instruments(latencies=table)
    ('torch:cpu', True)
    """
    families: dict[str, list[Group]] = {}
    for group in groups:
        if group.kind in kinds:
            families.setdefault(group.family or group.name, []).append(group)
    if not families:
        raise PlanError(f"no group is of the kinds {', '.join(kinds)}: give others with --kinds")
    curves: list[Curve] = []
    dense: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        whole = _subject(model, groups, target, Path(folder) / "dense")
        for family, members in families.items():
            points = {1.0: (0.0, 0.0, 0.0)}
            for kept in _widths(groups, members, align):
                share = float(np.mean([len(kept[group.name]) / group.units for group in members]))
                say(f"{family} at {share:.0%}")
                small = cut(model, groups, plan_from_kept(groups, kept))
                name = f"{len(curves)}-{share:.3f}"
                part = _subject(small, groups, target, Path(folder) / name)
                with ExitStack() as opened:
                    a, b = (
                        opened.enter_context(closing(make_runner(subject, target, batch, threads)))
                        for subject in (whole, part)
                    )
                    found = measure_pair(a, b, seconds=seconds, warmup=min(2.0, seconds))
                base, ratio = float(np.median(found.a_ms)), found.interval()
                dense.append(base)
                shared = tuple(base * (1 - 1 / value) / len(members) for value in (ratio.ratio, ratio.low, ratio.high))
                points[share] = (shared[0], shared[1], shared[2])
            shares = tuple(sorted(points))
            saved, low, high = (tuple(points[share][place] for share in shares) for place in range(3))
            curves.append(Curve(family, shares, saved, low, high))
    return LatencyTable(
        target, batch, groups.fingerprint(), float(np.median(dense)), tuple(curves), environment(threads)
    )


def _widths(groups: Groups, members: Sequence[Group], align: int) -> list[Kept]:
    """Choices that keep about `SHARES` of each member's units, aligned, the first ones going."""
    found: dict[int, Kept] = {}
    for share in SHARES:
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


def _subject(model: nn.Module, groups: Groups, target: str, folder: Path) -> Subject:
    """The model in the form that `target` runs."""
    goal = parse_target(target)
    folder.mkdir()
    if goal.runtime == "torch":
        return Subject(folder.name, module=model, inputs=groups.inputs)
    path = folder / "model.onnx"
    export_onnx(model, path, groups.inputs.draw())
    engines = {str(goal): build_engine(path, goal, folder).path} if goal.needs_build else {}
    return Subject(folder.name, onnx=path, engines=engines)
