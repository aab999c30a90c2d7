"""The profile stage: a table that fits is kept, wherever it was measured, and any other one is measured anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from secateur.benchmarks.environment import environment
from secateur.core.errors import RunError
from secateur.pipeline.plan.latency_table import Curve, LatencyTable, OperationCurve
from secateur.pipeline.runs import profile_stage
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.profile_stage import IMAGES, profile_run
from secateur.pipeline.runs.recipe import changed
from tests.pipeline.runs.handed import handed
from tests.pipeline.runs.small_run import make_inputs, recipe_of


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with a latency budget; nobody may change its inputs."""
    folder = tmp_path_factory.mktemp("profiled")
    make_inputs(folder)
    (folder / "run").mkdir()
    return Run(folder / "run", recipe_of(folder, "budget.latency=0.8", "budget.target=torch:cpu", "bench.threads=1"))


def table(run: Run, **changes: Any) -> LatencyTable:
    """A table of this run, as another machine has measured it."""
    families = dict.fromkeys(group.family or group.name for group in run.groups if group.kind in run.recipe.plan.kinds)
    curves = tuple(Curve(family, (0.5, 1.0), (1.0, 0.0), (1.0, 0.0), (1.0, 0.0)) for family in families)
    there = replace(environment(1), cpu_model="a board's")
    return replace(LatencyTable("torch:cpu", 1, run.groups.fingerprint(), 4.0, curves, there), **changes)


asked: list[Any] = []
"""What `measured` has asked `profile` for."""


def measured(run: Run, there: LatencyTable | None, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the stage measures, with this table in the run."""
    path = run.folder / "latency.json"
    path.unlink(missing_ok=True)
    if there is not None:
        there.save(path)
    done: list[object] = []

    def profile(*words: object, **settings: object) -> LatencyTable:
        done.append(settings)
        return table(run, dense_ms=7.0)

    monkeypatch.setattr(profile_stage, "profile", profile)
    assert profile_run(handed(run, "profile"), lambda message: None) == ["latency.json"]
    assert (LatencyTable.load(path).dense_ms == 7.0) == bool(done)
    asked.clear()
    asked.extend(done)
    return bool(done)


def test_a_table_that_fits_is_kept(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not measured(run, table(run), monkeypatch)
    assert not measured(run, table(run, batch=8), monkeypatch)


def test_any_other_is_measured_anew(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert measured(run, None, monkeypatch)
    assert measured(run, table(run, target="onnxruntime:cpu"), monkeypatch)
    assert measured(run, table(run, fingerprint="of another model"), monkeypatch)
    assert measured(run, table(run, curves=table(run).curves[1:]), monkeypatch)
    assert measured(run, table(run, environment=environment(2)), monkeypatch)


def test_a_joint_plan_needs_times_in_int8(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert measured(run, None, monkeypatch) and "precisions" not in asked[0]
    words = ("plan.allocate=joint", "budget.target=onnxruntime:cpu", "export.precisions=[int8]")
    joint = Run(run.folder, changed(run.recipe, words))
    there = table(joint, target="onnxruntime:cpu")
    curve = OperationCurve("int8", ("head",), (1.0,), (0.0, 1.0), (0.0, 1.0), (0.0, 1.0), (0.0, 1.0))
    assert not measured(joint, replace(there, operations=(curve,)), monkeypatch)
    assert measured(joint, replace(there, operations=(curve,), wide="fp16"), monkeypatch)
    assert measured(joint, there, monkeypatch)
    assert asked[0]["precisions"] == ("int8",) and asked[0]["options"].rest == "fp32"
    assert sum(len(labels) for _, labels in asked[0]["calibration"]) == IMAGES


def test_a_damaged_table_is_refused_and_stays(run: Run, tmp_path: Path) -> None:
    path = run.folder / "latency.json"
    path.write_text('{"schema": "secateur.latency/1"}')
    with pytest.raises(RunError, match="holds no latency table"):
        profile_run(handed(run, "profile"), lambda message: None)
    assert "curves" not in path.read_text()
