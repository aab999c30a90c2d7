"""What the demo says at its end: what went, the gate's verdict, and the commands to type next."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from secateur.benchmarks.gate import Verdict
from secateur.pipeline.report.network import network
from secateur.pipeline.report.next_steps import NextStep, next_steps
from secateur.pipeline.report.stage import REPORT, findings_of
from secateur.pipeline.runs.gate_run import gate
from secateur.pipeline.runs.manifest import read_manifest
from secateur.pipeline.runs.runner import open_run

MIN_SPEEDUP = 1.1
MAX_DROP = 3.0
"""What the demo's gate asks for: its 359 held-out images cannot tell a drop of less than 1.1 points from none."""
NEXT = 3


@dataclass(frozen=True)
class Closing:
    """What `stayed` of each kind of unit in words, the `verdict`, and at most `NEXT` steps."""

    stayed: str
    verdict: Verdict
    steps: tuple[NextStep, ...]


def closing_of(folder: Path) -> Closing:
    """The closing of a finished run; raises what `gate` and the readers of its files do."""
    run = open_run(folder)
    found = findings_of(REPORT.inputs(run, read_manifest(folder)))
    totals = network(found.groups.groups, found.plan.kept).pruned
    stayed = ", ".join(f"{one.kept:,} of {one.units:,} {one.title}" for one in totals)
    verdict = gate(folder, min_speedup=MIN_SPEEDUP, max_drop=MAX_DROP)
    return Closing(stayed, verdict, tuple(next_steps(found)[:NEXT]))
