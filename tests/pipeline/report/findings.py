"""What a report tells of a small run, written down."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from secateur.benchmarks.bootstrap import Interval
from secateur.benchmarks.environment import environment
from secateur.benchmarks.keys import TOP1
from secateur.benchmarks.results_file import BenchResult, Latency, Side
from secateur.core.input_spec import InputSpec
from secateur.pipeline.report.findings import Findings
from secateur.pipeline.runs.recipe import make_recipe
from secateur.pipeline.runs.sweep import DensePoint, Point, SweepFile
from secateur.pipeline.scores.score import Scores
from secateur.pipeline.structure.describe import GroupRow, GroupTable
from secateur.pipeline.structure.groups import Kind
from secateur.pipeline.structure.plan import Plan, PlanFacts
from secateur.pipeline.tasks.metric import Metric

CPU = "onnxruntime:cpu"
HIDDEN = "blocks.0.mlp.hidden"


def row(name: str, kind: Kind, units: int, blocks: int = 1) -> GroupRow:
    """A group of which only this matters."""
    return GroupRow(name, kind, units, blocks, "", "", 0, 0.0, 0, 8)


def side(macs: int, top1: float, p50: float) -> Side:
    """One side of a comparison, measured on one target."""
    samples = tuple((p50 + np.linspace(-0.05, 0.1, 25)).tolist() + (p50 + np.linspace(-0.1, 0.05, 25)).tolist())
    latency = Latency.of(samples, 1)
    return Side("", macs, macs // 100, macs // 25, top1, latency_ms={CPU: latency})


def compared(dense: Side, pruned: Side, ratio: float, low: float, high: float) -> BenchResult:
    """A comparison of two sides on one target; there is no GPU."""
    machine = replace(environment(1), cpu_model="test <cpu>")
    return BenchResult(machine, dense, pruned, {CPU: Interval(ratio, low, high)}, {"torch:cuda": "no GPU here"})


def findings(**sections: dict[str, Any]) -> Findings:
    """The findings of a run that removed five of eight units, with these sections of its recipe."""
    content: dict[str, Any] = {
        "model": {"name": "deit_tiny_patch16_224"},
        "data": {"path": "digits"},
        "budget": {"macs": 0.5},
        "recover": {"ridge": 1e-3},
    }
    facts = PlanFacts("macs", 1e9, 1e9, 1e9, 2e9, 10, 20, "global", 8, "taylor")
    return Findings(
        recipe=make_recipe({**content, **sections}, "the test"),
        groups=GroupTable("x", (3, 4, 4), 2e9, 20, 8, (row(HIDDEN, "mlp_hidden", 8),), ()),
        scores=Scores({HIDDEN: torch.ones(8)}, "taylor"),
        plan=Plan({HIDDEN: (0, 1, 5)}, "x", InputSpec.shaped((3, 4, 4)), facts),
        bench=compared(side(2 * 10**9, 81.4, 8.0), side(10**9, 80.9, 5.0), 1.6, 1.5, 1.7),
    )


def swept(first: float = 80.9, last: float = 60.0) -> SweepFile:
    """A sweep of two points, the second one of which loses accuracy; the latency of both was measured."""
    points = tuple(
        Point(budget, f"macs-{budget}", 2e9 * budget, 2e7 * budget, top1, "", Metric(TOP1, top1), {CPU: speedup})
        for budget, top1, speedup in ((0.5, first, Interval(1.6, 1.5, 1.7)), (0.3, last, Interval(1.0, 0.9, 1.1)))
    )
    return SweepFile("", "macs", points, DensePoint(2e9, 2e7, Metric(TOP1, 81.4), 1000, ""))
