"""The plan stage: what each allocation reads and measures with, and that it opens nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from secateur.core.errors import PlanError
from secateur.pipeline.runs import plan_stage
from secateur.pipeline.runs.declarations import RecipePart
from secateur.pipeline.runs.manifest import read_manifest
from secateur.pipeline.runs.plan_stage import LATENCIES, instruments, plan_run, reads_besides
from secateur.pipeline.runs.runner import open_run, run_stages
from secateur.pipeline.runs.stages import STAGES
from tests.pipeline.runs.handed import handed
from tests.pipeline.runs.opens import undeclared_opens
from tests.pipeline.runs.small_run import make_inputs, recipe_of

(PLAN,) = (stage for stage in STAGES if stage.name == "plan")
TASK, BATCHES, REPAIR = (RecipePart(key) for key in ("task", "recover.batch_size", "recover.compensate"))
EVOLUTION = ("plan.evolution.population=3", "plan.evolution.generations=1", "plan.evolution.images=6")


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run through its score stage, in `run`, beside what it read; nobody may change it."""
    folder = tmp_path_factory.mktemp("scored")
    make_inputs(folder)
    run_stages(open_run(folder / "run", recipe_of(folder)), "score")
    return folder


@pytest.mark.parametrize(
    ("allocate", "reads"),
    [("global", []), ("uniform", []), ("sensitivity", [TASK, BATCHES, REPAIR]), ("evolution", [TASK, BATCHES])],
)
def test_allocations_that_measure_depend_on_the_repair(scored: Path, allocate: str, reads: list[RecipePart]) -> None:
    assert reads_besides(recipe_of(scored, f"plan.allocate={allocate}")) == reads
    by_latency = recipe_of(scored, f"plan.allocate={allocate}", "budget.latency=0.8", "budget.target=torch:cpu")
    assert reads_besides(by_latency) == [*reads, LATENCIES]


@pytest.mark.parametrize("allocate", ["global", "sensitivity", "evolution", "xpruner"])
def test_it_measures_with_what_its_allocation_needs(scored: Path, tmp_path: Path, allocate: str) -> None:
    shutil.copytree(scored / "run", tmp_path / "run")
    run = open_run(tmp_path / "run", recipe_of(scored, f"plan.allocate={allocate}", *EVOLUTION), update=True)
    allocation = run.recipe.plan.allocation()
    given = instruments(handed(run, "plan"), allocation, lambda message: None)
    assert (given.objective is not None) == (allocate in ("sensitivity", "evolution"))
    assert (given.mask_loss is not None) == (allocate == "xpruner")
    assert given.latencies is None


@pytest.mark.parametrize(("allocate", "kept"), [("sensitivity", "judged.json"), ("evolution", "plan.db")])
def test_it_opens_what_it_declares_and_its_working_files(
    scored: Path, tmp_path: Path, allocate: str, kept: str
) -> None:
    shutil.copytree(scored / "run", tmp_path / "run")
    run = open_run(tmp_path / "run", recipe_of(scored, f"plan.allocate={allocate}", *EVOLUTION), update=True)
    entries = read_manifest(run.folder)
    assert undeclared_opens(PLAN, run, entries, [run.folder, scored / "train", scored / "val"]) == []
    assert (run.folder / kept).is_file()
    said: list[str] = []
    before = (run.folder / "plan.json").read_bytes()
    plan_run(PLAN.inputs(run, entries), said.append)
    assert (run.folder / "plan.json").read_bytes() == before
    assert allocate == "evolution" or not said  # what was measured is not measured again


def test_a_plan_with_nothing_in_int8_is_refused_before_anything_is_exported(
    scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(scored / "run", tmp_path / "run")
    settings = ("plan.allocate=joint", "budget.bit_ops=0.9", "export.precisions=[int8]", "recover.compensate=false")
    run = open_run(tmp_path / "run", recipe_of(scored, *settings), update=True)
    costly = dict.fromkeys((term.name for term in run.groups.terms), 1e9)
    monkeypatch.setattr(plan_stage, "product_losses", lambda *_: costly)
    with pytest.raises(PlanError, match=r"no operation is worth int8 under this budget: .* allocate: sensitivity"):
        plan_run(PLAN.inputs(run, read_manifest(run.folder)), lambda message: None)
    assert not (run.folder / "plan.json").exists()
