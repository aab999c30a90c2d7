"""A finished run of seconds, which tests copy, change and judge."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur.pipeline.report.stage import ALL_STAGES
from secateur.pipeline.runs.runner import open_run, run_stages
from tests.once import made_once
from tests.pipeline.runs.small_run import make_inputs, recipe_of

QUICK = (
    *("score.method=magnitude", "score.options={}", "recover.compensate=false", "report.images=0"),
    *("export.targets=[torch:cpu]", "bench.targets=[torch:cpu, torch:cuda]", "bench.seconds=0.02"),
)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with all stages done, its weights and images beside it. Nobody may change it, or work in it."""

    def make(folder: Path) -> None:
        make_inputs(folder)
        run_stages(open_run(folder / "run", recipe_of(folder, *QUICK)), stages=ALL_STAGES)

    return made_once(tmp_path_factory, "finished", make) / "run"
