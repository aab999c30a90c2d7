"""`secateur sweep`: the budgets that it reads, and the front that it prints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from secateur.benchmarks.bootstrap import Interval
from secateur.core.errors import PlanError
from secateur.pipeline.runs import sweep
from secateur.pipeline.runs.recipe import Recipe
from secateur.pipeline.tasks.metric import Metric
from tests.pipeline.cli.conftest import Command

FAST = {"torch:cpu": Interval(1.25, 1.2, 1.3)}
DENSE = sweep.DensePoint(1e7, 3e6, Metric("top-1 accuracy", 98.0), 100, "")
POINTS = [
    sweep.Point(0.8, "macs-0.8", 8e6, 2e6, 97.5, "a", speedup=FAST),
    sweep.Point(0.4, "macs-0.4", 4e6, 1e6, 90.25, "b"),
]


Call = tuple[Recipe, list[float], Path, bool]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Call]:
    monkeypatch.chdir(tmp_path)
    calls: list[Call] = []

    def swept(
        recipe: Recipe, budgets: Sequence[float], folder: Path, report: Any, *, latency: bool
    ) -> list[sweep.Point]:
        calls.append((recipe, list(budgets), folder, latency))
        sweep.SweepFile("", "macs", tuple(POINTS), DENSE).save(folder / "sweep.json")
        return POINTS

    monkeypatch.setattr(sweep, "sweep", swept)
    return calls


def test_a_line_for_each_budget(asked: list[Call], run_dir: Path, secateur: Command) -> None:
    done = secateur("sweep", run_dir / "recipe.yaml", "--budgets", "0.8,0.4", "--set", "budget.params=0.5")
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["dense", "10.0", "MMACs", "3.00", "M", *str(DENSE.metric).split()],
        ["0.8", "8.0", "MMACs", "2.00", "M", "97.50", "%", "torch:cpu:", "1.25x", "faster", "[1.20,", "1.30]"],
        ["0.4", "4.0", "MMACs", "1.00", "M", "90.25", "%"],
        ["report:", "runs/recipe-sweep/report.html"],
    ]
    (call,) = asked
    assert (call[0].budget.measure, *call[1:]) == ("params", [0.8, 0.4], Path("runs/recipe-sweep"), False)
    assert "macs-0.8" in Path("runs/recipe-sweep/report.html").read_text()


def test_json(asked: list[Call], run_dir: Path, secateur: Command) -> None:
    done = secateur("sweep", run_dir / "recipe.yaml", "--out", "front", "--latency", "--json")
    assert [point["budget"] for point in json.loads(done.stdout)] == [0.8, 0.4]
    assert asked[0][1:] == ([0.8, 0.6, 0.4, 0.25], Path("front"), True)


def test_what_is_no_number_is_refused(asked: list[Call], run_dir: Path, secateur: Command) -> None:
    with pytest.raises(PlanError, match=r"--budgets got '0\.8,half'"):
        secateur("sweep", run_dir / "recipe.yaml", "--budgets", "0.8,half")
    assert not asked
