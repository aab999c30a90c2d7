"""The metric against cost: the dense model, a run, and all other points of its sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from secateur.benchmarks.bootstrap import Interval
from secateur.benchmarks.gating.shares import share_interval
from secateur.benchmarks.keys import TOP1
from secateur.benchmarks.results_file import BenchResult
from secateur.pipeline.report.axes import Axis
from secateur.pipeline.runs.sweep import SweepFile

Role = Literal["dense", "here", "other"]
DENSE = Interval(1, 1, 1)
"""The dense side beside itself."""


@dataclass(frozen=True)
class Model:
    """One model of a front: its MACs, what it reaches, and by target how much faster than the dense one it is."""

    name: str
    role: Role
    macs: float | None
    reached: float
    speedup: Mapping[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True)
class FrontPoint:
    """One model in a chart: its cost `x` and what it reaches `y`, each with its 95 % interval (or itself, without)."""

    name: str
    role: Role
    x: Interval
    y: Interval


@dataclass(frozen=True)
class Front:
    """The points in one measure of cost, the cheapest first, with both axes and what these are called."""

    cost: str
    metric: str
    points: tuple[FrontPoint, ...]
    x: Axis
    y: Axis


def fronts_of_run(bench: BenchResult, sweep: SweepFile | None, run: str) -> list[Front]:
    """The fronts of a run and of the other points of its sweep, in which it is called `run`."""
    if (judged := bench.judged) is None:
        return []
    targets = dict.fromkeys(bench.speedup, DENSE)
    models = [
        Model("dense", "dense", bench.dense.macs, judged.dense, targets),
        Model("this run", "here", bench.pruned.macs, judged.pruned, bench.speedup),
        *(model for model in models_of(sweep) if model.role == "other" and model.name != run),
    ]
    return fronts(models, judged.name, judged.unit, bench.evaluation_images)


def models_of(sweep: SweepFile | None) -> list[Model]:
    """The models of a sweep: the dense one where it was measured, and the points."""
    if sweep is None:
        return []
    models = []
    if (dense := sweep.dense) is not None:
        targets = dict.fromkeys([target for point in sweep.points for target in point.speedup], DENSE)
        models.append(Model("dense", "dense", dense.macs, dense.metric.value, targets))
    for point in sweep.points:
        reached = point.metric.value if point.metric is not None else point.top1
        if reached is not None:
            models.append(Model(point.run, "other", point.macs, reached, point.speedup))
    return models


def fronts(models: Sequence[Model], metric: str, unit: str, images: int | None) -> list[Front]:
    """A chart of the metric against MACs, and one against the latency on each target, of two or more models.

    MACs are in millions, latencies in percent of the dense model's that was measured in turn.
    """
    words = f"{metric} ({unit})" if unit else metric
    by_cost: dict[str, list[FrontPoint]] = {}
    for model in models:
        low, high = (model.reached, model.reached)
        if metric == TOP1 and images:
            low, high = share_interval(model.reached, images)
        reached = Interval(model.reached, low, high)
        if model.macs is not None:
            macs = model.macs / 1e6
            point = FrontPoint(model.name, model.role, Interval(macs, macs, macs), reached)
            by_cost.setdefault("MACs in millions", []).append(point)
        for target, found in model.speedup.items():
            share = Interval(100 / found.ratio, 100 / found.high, 100 / found.low)
            cost = f"latency on {target}, % of dense"
            by_cost.setdefault(cost, []).append(FrontPoint(model.name, model.role, share, reached))
    return [_front(cost, words, points) for cost, points in by_cost.items() if len(points) > 1]


def _front(cost: str, metric: str, points: Sequence[FrontPoint]) -> Front:
    ordered = tuple(sorted(points, key=lambda point: point.x.ratio))
    x, y = (Axis.over([end for one in ends for end in (one.low, one.high)]) for ends in _ends(points))
    return Front(cost, metric, ordered, x, y)


def _ends(points: Sequence[FrontPoint]) -> tuple[list[Interval], list[Interval]]:
    return [point.x for point in points], [point.y for point in points]
