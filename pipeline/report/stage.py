"""The report stage, and with it all stages of a run."""

from __future__ import annotations

from secateur.benchmarks.layers import layers_file
from secateur.benchmarks.layers.layers_file import read_layers
from secateur.benchmarks.results_file import read_bench
from secateur.core.say import Say
from secateur.export.artefacts import BuildFile, ExportFile
from secateur.export.engine_info import EngineInfo
from secateur.pipeline.report.fidelity_of_run import Maps, fidelity_of_run
from secateur.pipeline.report.findings import Findings
from secateur.pipeline.runs.declarations import Found, Output, Packages, recipe_parts
from secateur.pipeline.runs.inputs import Inputs
from secateur.pipeline.runs.stage import Stage
from secateur.pipeline.runs.stages import DENSE, ENGINES, HELD_OUT, PLAN, SCORES, SMALL, STAGES, TRACED
from secateur.pipeline.runs.sweep import SweepFile
from secateur.pipeline.scores.score import Scores
from secateur.pipeline.structure.describe import GroupTable

BENCH, GROUPS = Output("bench", "bench.json"), Output("groups", "groups.json")
EXPORTED, BUILT = Output("export", ExportFile.NAME), Output("build", BuildFile.NAME)

SWEEP, LAYERS = Found(f"../{SweepFile.NAME}"), Found(layers_file.FILE)


def report_run(inputs: Inputs, say: Say) -> list[str]:
    """Writes the report of a run, with the agreement of both models' maps where the recipe asks for it."""
    from secateur.pipeline.report.write import write_report  # matplotlib is slow to import

    return write_report(inputs.output(), findings_of(inputs, fidelity_of_run(inputs, say)))


def findings_of(inputs: Inputs, maps: Maps | None = None) -> Findings:
    """What the files of a run tell, and these maps."""
    built = BuildFile.load(inputs.folder_of(BUILT)) if inputs.has(BuildFile.NAME) else BuildFile()
    return Findings(
        recipe=inputs.recipe,
        groups=GroupTable.load(inputs.path("groups.json")),
        scores=Scores.load(inputs.path("scores.safetensors")),
        plan=inputs.plan,
        bench=read_bench(inputs.path("bench.json")),
        classes=inputs.held_out_images.classes if inputs.model_task.scores_classes else (),
        folder=inputs.output(),
        maps=maps,
        graphs=ExportFile.load(inputs.folder_of(EXPORTED)).files if inputs.has(ExportFile.NAME) else {},
        engines=_engines(inputs, built),
        not_built=built.skipped,
        sweep=sweep_of(inputs),
        layers=read_layers(path) if (path := inputs.found(LAYERS.name)) else None,
    )


def _engines(inputs: Inputs, built: BuildFile) -> dict[str, EngineInfo]:
    """The engines of the run by their folders in it."""
    folder = inputs.folder_of(BUILT, ENGINES)
    return {place.relative_to(folder).as_posix(): EngineInfo.load(place) for place in built.engines(folder)}


def sweep_of(inputs: Inputs) -> SweepFile | None:
    """The sweep whose folder the run is in, where it is one of its points."""
    if (path := inputs.found(SWEEP.name)) is None:
        return None
    content = SweepFile.load(path)
    return content if inputs.output().name in {point.run for point in content.points} else None


REPORT = Stage(
    "report",
    (
        *(
            DENSE,
            HELD_OUT,
            GROUPS,
            SCORES,
            PLAN,
            SMALL,
            EXPORTED,
            BUILT,
            ENGINES,
            BENCH,
            SWEEP,
            LAYERS,
            TRACED,
            Packages("jinja2", "matplotlib"),
        ),
        *recipe_parts("", "report"),
    ),
    report_run,
)
ALL_STAGES = (*STAGES, REPORT)
