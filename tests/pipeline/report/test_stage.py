"""The report stage tells of what the stages before it have written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from secateur.pipeline.report.stage import ALL_STAGES, REPORT, report_run, sweep_of
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.stages import STAGES
from secateur.pipeline.scores.score import Scores
from secateur.pipeline.structure.describe import describe
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.structure.storage import save
from tests.pipeline.report.findings import findings, swept
from tests.pipeline.report.test_layer_times import PROFILE
from tests.pipeline.runs.handed import handed
from tests.pipeline.runs.small_run import make_inputs, recipe_of


def test_it_is_the_last_of_all_stages() -> None:
    assert (*STAGES, REPORT) == ALL_STAGES


def test_it_tells_of_the_files_of_a_run(tmp_path: Path) -> None:
    make_inputs(tmp_path)
    run = Run(tmp_path / "run", recipe_of(tmp_path))
    (group,) = (group for group in run.groups if group.kind == "mlp_hidden")
    describe(run.groups).save(run.folder / "groups.json")
    Scores({group.name: torch.ones(3, group.units)}, "xmask").save(run.folder / "scores.safetensors")
    Plan({group.name: (1, 4)}, run.groups.fingerprint(), run.groups.inputs).save(run.folder / "plan.json")
    findings().bench.save(run.folder / "bench.json")
    save(run.dense, run.folder / "model")
    said: list[str] = []
    written = report_run(handed(run, "report"), said.append)
    assert set(written) == {
        *("report.html", "report.md", "fidelity.json"),
        *(f"figures/{name}.png" for name in ("classes", "evidence")),
    }
    assert all((run.folder / name).is_file() for name in written)
    summary = (run.folder / "report.md").read_text()
    assert f"| {group.name} | mlp_hidden | {group.units} | 2 |" in summary
    assert "agreement of maps: cosine 1.00" in summary  # the model that it shows is the dense one
    assert said == ["maps of 3 images"]
    page = (run.folder / "report.html").read_text()
    assert "other-0.3" not in page
    assert f"secateur profile {run.folder} --layers" in page
    points = tuple(replace(point, run=name) for point, name in zip(swept().points, ("run", "other-0.3"), strict=True))
    replace(swept(), points=points).save(run.folder / "../sweep.json")
    PROFILE.save(run.folder / "layers.json")
    report_run(handed(run, "report"), said.append)
    page = (run.folder / "report.html").read_text()
    assert "other-0.3" in page  # the rest of the sweep that the run is a point of
    assert "too small &lt;b&gt;" in page


def test_a_sweep_that_the_run_is_no_point_of_is_not_shown(tmp_path: Path) -> None:
    make_inputs(tmp_path)
    run = Run(tmp_path / "run", recipe_of(tmp_path))
    run.folder.mkdir()
    swept().save(tmp_path / "sweep.json")
    assert sweep_of(handed(run, "report")) is None
    points = (replace(swept().points[0], run="run"),)
    replace(swept(), points=points).save(tmp_path / "sweep.json")
    assert sweep_of(handed(run, "report")) is not None
