"""What the demo says at its end: what went, the gate's verdict, and the commands to type next."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from secateur.benchmarks.gate import Verdict
from secateur.benchmarks.results_file import read_bench
from secateur.export.artefacts import BuildFile, ExportFile
from secateur.pipeline.report.findings import Findings
from secateur.pipeline.report.network import network
from secateur.pipeline.report.next_steps import NextStep, next_steps
from secateur.pipeline.runs.gate_run import gate
from secateur.pipeline.runs.recipe import read_recipe
from secateur.pipeline.scores.score import Scores
from secateur.pipeline.structure.describe import GroupTable
from secateur.pipeline.structure.plan import Plan

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
    found = _findings(folder)
    totals = network(found.groups.groups, found.plan.kept).pruned
    stayed = ", ".join(f"{one.kept:,} of {one.units:,} {one.title}" for one in totals)
    verdict = gate(folder, min_speedup=MIN_SPEEDUP, max_drop=MAX_DROP)
    return Closing(stayed, verdict, tuple(next_steps(found)[:NEXT]))


def _findings(folder: Path) -> Findings:
    """What a run's files tell, without maps."""
    return Findings(
        recipe=read_recipe(folder / "recipe.yaml"),
        groups=GroupTable.load(folder / "groups.json"),
        scores=Scores.load(folder / "scores.safetensors"),
        plan=Plan.load(folder / "plan.json"),
        bench=read_bench(folder),
        folder=folder,
        graphs=ExportFile.load(folder).files if (folder / ExportFile.NAME).exists() else {},
        not_built=BuildFile.load(folder).skipped if (folder / BuildFile.NAME).exists() else {},
    )
