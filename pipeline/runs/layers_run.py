"""The layers of a run's dense and pruned model, timed on a target: layers.json, which stays until it is made again."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from secateur.benchmarks.layers.layers_file import FILE, LayerProfile
from secateur.benchmarks.layers.profile import profile_layers
from secateur.core.say import Say
from secateur.export.precision import EIGHT_BITS
from secateur.export.targets import parse_typed_target
from secateur.pipeline.runs.runner import current_run
from secateur.pipeline.runs.subjects import run_subjects, with_onnx


def profile_run_layers(folder: Path, target: str, batch: int, seconds: float, say: Say) -> LayerProfile:
    """Times the layers of the run in `folder` as `profile_layers` does, and writes them into it as layers.json.

    A graph that was not exported is made for the while, unless that needs images. Raises `RunError` for a run whose
    model is not up to date.
    """
    goal = parse_typed_target(target)
    made = [] if goal.precision in EIGHT_BITS else [str(goal)]
    recipe = current_run(folder, "recover").recipe
    with TemporaryDirectory() as place:
        dense, pruned = (with_onnx(subject, made, Path(place)) for subject in run_subjects(folder))
        bench = recipe.bench
        found = profile_layers(
            dense, pruned, goal, batch, seconds, bench.threads, recipe.seed, say, processes=bench.processes
        )
    found.save(folder / FILE)
    return found
