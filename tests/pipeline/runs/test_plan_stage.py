"""The plan stage: what each allocation reads and measures with, and that it opens nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from secateur.core.errors import PlanError
from secateur.pipeline.recover.compensate import compensate
from secateur.pipeline.runs import plan_stage
from secateur.pipeline.runs.declarations import RecipePart
from secateur.pipeline.runs.manifest import read_manifest
from secateur.pipeline.runs.plan_stage import LATENCIES, instruments, plan_run, reads_besides
from secateur.pipeline.runs.runner import open_run, run_stages
from secateur.pipeline.runs.stages import STAGES
from secateur.pipeline.scores.score import Scores
from secateur.pipeline.structure.constant import ConstantBranch
from secateur.pipeline.structure.plan import Plan
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


ROUNDS = ("plan.rounds=2", "plan.allocate=knapsack", "plan.align=4", "budget.macs=0.6", "score.method=obs")


@pytest.mark.parametrize("compensate", [True, False])
def test_rounds_depend_on_the_score_and_on_the_repair_in_closed_form(scored: Path, compensate: bool) -> None:
    recipe = recipe_of(scored, *ROUNDS, "score.options={}", f"recover.compensate={str(compensate).lower()}")
    closed = ("ridge", "front_to_back", "adapt_statistics", "samples_per_class", "batch_size")
    parts = ["task", "score", "recover.compensate", *(f"recover.{key}" for key in closed if compensate)]
    assert reads_besides(recipe) == [RecipePart(key) for key in parts]


def test_a_run_in_rounds_scores_the_repaired_model_and_does_no_round_twice(
    scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(scored / "run", tmp_path / "run")
    run = open_run(tmp_path / "run", recipe_of(scored, *ROUNDS, "score.options={}"), update=True)
    entries = run_stages(run, "score")
    repaired: list[Plan] = []
    monkeypatch.setattr(plan_stage, "compensate", lambda *given: repaired.append(given[2]) or compensate(*given))
    assert undeclared_opens(PLAN, run, entries, [run.folder, scored / "train", scored / "val"]) == []
    whole = Plan.load(run.folder / "plan.json")
    (first,) = repaired
    assert run.groups.macs(whole.kept) <= 0.6 * run.groups.macs() < run.groups.macs(first.kept)
    assert run.groups.macs(first.kept) <= 0.6**0.5 * run.groups.macs()
    said: list[str] = []
    plan_run(PLAN.inputs(run, entries), said.append)
    assert Plan.load(run.folder / "plan.json") == whole and len(repaired) == 1 and not said
    other = open_run(run.folder, recipe_of(scored, *ROUNDS, "score.options={}", "recover.ridge=0.1"), update=True)
    plan_run(PLAN.inputs(other, entries), said.append)
    assert len(repaired) == 2 and said == ["round 2 of 2: scoring what is left, repaired"]


def test_a_run_takes_whole_layers_where_its_recipe_has_them(scored: Path, tmp_path: Path) -> None:
    shutil.copytree(scored / "run", tmp_path / "run")
    kinds = ("plan.kinds=[mlp_hidden, mlp, attention, block]", "plan.align=4")
    recipe = recipe_of(
        scored, *kinds, "plan.allocate=knapsack", "score.method=obs", "score.options={}", "budget.macs=0.2"
    )
    run = open_run(tmp_path / "run", recipe, update=True)
    run_stages(run, "recover")
    scores, plan = Scores.load(run.folder / "scores.safetensors"), Plan.load(run.folder / "plan.json")
    assert {"blocks.0", "blocks.0.attn", "blocks.0.mlp", "blocks.0.mlp.hidden"} <= set(scores.values)
    assert any(not units for units in plan.kept.values())
    assert set(plan.kept) <= {group.name for group in run.groups}  # units of the model, and no layers
    gone = [part for part in ("attn", "mlp") if isinstance(run.small.get_submodule(f"blocks.0.{part}"), ConstantBranch)]
    assert gone


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
