"""What a stage is handed, outside of a whole run."""

from __future__ import annotations

from secateur.core.files import sha256_file
from secateur.pipeline.report.stage import ALL_STAGES
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.inputs import Inputs
from secateur.pipeline.runs.manifest import Entry


def handed(run: Run, stage: str) -> Inputs:
    """The inputs of a stage, as if the files in the run's folder were those of the stages before."""
    paths = [path for path in run.folder.rglob("*") if path.is_file()]
    files = {str(path.relative_to(run.folder)): sha256_file(path) for path in paths}
    (chosen,) = (one for one in ALL_STAGES if one.name == stage)
    return chosen.inputs(run, {one.name: Entry("", files, 0.0, {}, 0) for one in ALL_STAGES})
