"""All that a report tells of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from secateur.benchmarks.layers.layers_file import LayerProfile
from secateur.benchmarks.results_file import BenchResult
from secateur.export.artefacts import ExportedGraph
from secateur.export.engine_info import EngineInfo
from secateur.pipeline.report.fidelity_of_run import Maps
from secateur.pipeline.runs.recipe import Recipe
from secateur.pipeline.runs.sweep import SweepFile
from secateur.pipeline.scores.score import Scores
from secateur.pipeline.structure.describe import GroupTable
from secateur.pipeline.structure.plan import Plan


@dataclass(frozen=True)
class Findings:
    """All that a report tells of the run in `folder`. `classes` are those of the images, by name.

    `graphs` are the exported ones by their names, `engines` the built ones by their folders in the run, `not_built`
    the targets without one and why. The maps may be left out. `sweep` is the one that the run is a point of,
    `layers` what `secateur profile --layers` measured.
    """

    recipe: Recipe
    groups: GroupTable
    scores: Scores
    plan: Plan
    bench: BenchResult
    folder: Path = Path("RUN")
    classes: tuple[str, ...] = ()
    maps: Maps | None = None
    graphs: Mapping[str, ExportedGraph] = field(default_factory=dict)
    engines: Mapping[str, EngineInfo] = field(default_factory=dict)
    not_built: Mapping[str, str] = field(default_factory=dict)
    sweep: SweepFile | None = None
    layers: LayerProfile | None = None
