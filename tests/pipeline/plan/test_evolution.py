"""Evolution: redundancy is found, and the plan depends on the seed alone, whoever did the work and however often."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path

import optuna
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState
from torch import Tensor

from secateur.core.errors import PlanError, RunError
from secateur.pipeline.plan.allocation import Instruments, Objective, Problem, find_allocation
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.evolution import Evolution, kept, repaired
from secateur.pipeline.plan.fit_budget import fit_budget
from secateur.pipeline.plan.make import make_plan
from secateur.pipeline.plan.objective import divergence
from secateur.pipeline.recover.fast_repair import FastRepair
from secateur.pipeline.scores.score import Scores
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups, Kept
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.structure.steps import removal_steps
from tests.conftest import make_vit

Batches = list[tuple[Tensor, Tensor]]
DEPTH = 4
SPEC = Evolution(population=6, generations=4)


@pytest.fixture(scope="module")
def deep() -> Groups:
    return find_groups(make_vit(depth=DEPTH), torch.zeros(1, 3, 16, 16))


def problem_of(groups: Groups, seed: int = 0, least: int = 8, objective: Objective | None = None) -> Problem:
    hidden = [group for group in groups if group.kind == "mlp_hidden"]
    generator = torch.Generator().manual_seed(3)
    values = {group.name: torch.rand(group.units, generator=generator).double().numpy() for group in hidden}
    steps = {group.name: removal_steps(group, values[group.name], 8, least) for group in hidden}
    return Problem(groups, steps, Budget(units=0.5), Instruments(objective=objective or toy, seed=seed))


def toy(kept: Kept) -> float:
    """The second block needs nothing, the third one everything."""
    weights = {"blocks.1.mlp.hidden": 0.0, "blocks.2.mlp.hidden": 5.0}
    return sum(weights.get(name, 1.0) * (192 - len(units)) ** 2 for name, units in kept.items())


def plan_of(
    groups: Groups, spec: Evolution = SPEC, seed: int = 0, identity: str = "", objective: Objective = toy
) -> Plan:
    generator = torch.Generator().manual_seed(3)
    scores = Scores({group.name: torch.rand(group.units, generator=generator) for group in groups}, "drawn")
    instruments = Instruments(objective=objective, seed=seed, identity=identity)
    return make_plan(groups, scores, Budget(units=0.5), replace(spec, kinds=("mlp_hidden",), least=8), instruments)


def trials_of(url: str) -> list[optuna.trial.FrozenTrial]:
    (name,) = optuna.get_all_study_names(url)
    return optuna.load_study(study_name=name, storage=url).trials


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 23), min_size=DEPTH, max_size=DEPTH))
def test_a_repaired_candidate_is_on_the_budget_and_stays_there(deep: Groups, widths: list[int]) -> None:
    problem = problem_of(deep)
    found = repaired(problem, widths)
    assert sum(found) == DEPTH * 12  # half of 24 chunks in each group: units are all the same
    assert repaired(problem, found) == found
    larger = sum(widths) <= sum(found)
    assert all((a <= b) == larger or a == b for a, b in zip(widths, found, strict=True))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.integers(0, 3))
def test_generations_are_new_and_begin_with_the_uniform_and_the_global_plan(
    deep: Groups, seed: int, generation: int
) -> None:
    problem = problem_of(deep, seed=seed)
    losses: dict[tuple[int, ...], float] = {}
    for number in range(generation + 1):
        young = SPEC.born(problem, losses, number)
        assert young == SPEC.born(problem, losses, number)
        assert len(young) == len(set(young)) == SPEC.population
        assert not losses.keys() & set(young)
        assert all(sum(widths) == DEPTH * 12 for widths in young)
        if not losses:
            first = [kept(problem, widths) for widths in young[:2]]
            for found, name in zip(first, ("uniform", "global"), strict=True):
                expected = fit_budget(problem, find_allocation(name)().order(problem)).kept
                assert {one: tuple(units) for one, units in found.items()} == expected
        losses |= {widths: toy(kept(problem, widths)) for widths in young}


@pytest.mark.nightly
def test_a_small_space_is_exhausted_and_the_best_of_it_is_found(deep: Groups) -> None:
    problem = problem_of(deep, least=88)
    every = [lost for lost in product(range(14), repeat=DEPTH) if sum(lost) == DEPTH * 12]
    assert len(every) == 35
    best = min(toy(kept(problem, widths)) for widths in every)
    found = fit_budget(problem, Evolution(population=40, generations=3).order(problem)).kept
    assert toy(found) == best


def test_what_evolves_is_never_worse_than_its_first_generation_and_finds_the_idle_layer(deep: Groups) -> None:
    plan = plan_of(deep, Evolution(population=10, generations=8))
    problem = problem_of(deep)
    first = [toy(fit_budget(problem, find_allocation(name)().order(problem)).kept) for name in ("uniform", "global")]
    lost = {name: 192 - len(plan.kept.get(name, range(192))) for name in problem.steps}
    assert toy(plan.kept) < 0.7 * min(first)
    assert lost["blocks.1.mlp.hidden"] > 150
    assert lost["blocks.2.mlp.hidden"] < 50
    only = plan_of(deep, Evolution(population=3, generations=1))
    assert toy(only.kept) <= min(first)


def test_the_seed_decides(deep: Groups) -> None:
    one, same, other = (plan_of(deep, seed=seed).kept for seed in (0, 0, 1))
    assert one == same != other


def test_a_study_that_was_stopped_ends_as_one_that_was_not(deep: Groups, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'plan.db'}"
    for stop in (2, 11):
        calls = 0

        def objective(kept: Kept, stop: int = stop) -> float:
            nonlocal calls
            calls += 1
            if calls > stop:
                raise KeyboardInterrupt
            return toy(kept)

        with pytest.raises(KeyboardInterrupt):
            replace(SPEC, storage=url).order(problem_of(deep, objective=objective))
    orders = [replace(SPEC, storage=place).order(problem_of(deep)) for place in (url, "")]
    assert orders[0] == orders[1]
    states = [trial.state for trial in trials_of(url)]
    assert states.count(TrialState.COMPLETE) == 24  # nothing was measured twice


def test_other_images_are_another_study(deep: Groups, tmp_path: Path) -> None:
    spec = Evolution(population=3, generations=1, storage=f"sqlite:///{tmp_path / 'plan.db'}")
    for identity in ("these", "those"):
        plan_of(deep, spec, identity=identity)
    assert len(optuna.get_all_study_names(spec.storage)) == 2


def test_two_workers_on_one_study_make_the_plan_of_one(deep: Groups, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'plan.db'}"
    measured: list[list[int]] = [[], []]

    def worker(number: int) -> Plan:
        def objective(kept: Kept) -> float:
            measured[number].append(len(kept["blocks.0.mlp.hidden"]))
            time.sleep(0.05)
            return toy(kept)

        return plan_of(deep, replace(SPEC, storage=url), objective=objective)

    with ThreadPoolExecutor(2) as pool:
        plans = list(pool.map(worker, range(2)))
    assert plans[0].kept == plans[1].kept == plan_of(deep).kept
    done = [tuple(t.user_attrs["removed_chunks"]) for t in trials_of(url) if t.state == TrialState.COMPLETE]
    assert len(set(done)) == 24
    assert min(map(len, measured)) >= 6
    assert sum(map(len, measured)) < 40  # at a generation's end both may measure the same candidate


def test_a_study_in_postgresql_makes_the_plan_of_one_in_memory(deep: Groups, postgresql: str) -> None:
    assert plan_of(deep, replace(SPEC, storage=postgresql)).kept == plan_of(deep).kept


def test_the_callers_log_is_left_as_it_was(deep: Groups, caplog: pytest.LogCaptureFixture) -> None:
    before = optuna.logging.get_verbosity()
    optuna.logging.enable_propagation()
    try:
        plan_of(deep, Evolution(population=3, generations=1))
        with pytest.raises(KeyboardInterrupt):
            plan_of(deep, Evolution(population=3, generations=1), objective=interrupted)
    finally:
        optuna.logging.disable_propagation()
    assert optuna.logging.get_verbosity() == before
    assert not caplog.records


def interrupted(kept: Kept) -> float:
    raise KeyboardInterrupt


@pytest.mark.nightly
def test_a_planted_redundant_layer_is_found_through_inherited_weights() -> None:
    """The units of one layer are copies of eight: surgery alone needs them all, a refit does not."""
    model = make_vit(depth=3)
    mlp = model.get_submodule("blocks.1.mlp")
    with torch.no_grad():
        mlp.fc1.weight.copy_(mlp.fc1.weight[:8].repeat(24, 1))
        mlp.fc1.bias.copy_(mlp.fc1.bias[:8].repeat(24))
    groups = find_groups(model, torch.zeros(1, 3, 16, 16))
    generator = torch.Generator().manual_seed(1)
    images = [(torch.randn(32, 3, 16, 16, generator=generator), torch.zeros(32).long()) for _ in range(3)]
    small = FastRepair(model, groups, ("mlp_hidden",), images[:2])
    objective = divergence(model, groups, images[2:], small)
    scores = Scores({group.name: torch.arange(float(group.units)).flip(0) for group in groups}, "given")
    evolution = Evolution(population=12, generations=8, kinds=("mlp_hidden",))
    plan = make_plan(groups, scores, Budget(units=0.7), evolution, Instruments(objective=objective))
    widths = [len(plan.kept.get(f"blocks.{number}.mlp.hidden", range(192))) for number in range(3)]
    assert widths[1] <= 48
    assert min(widths[0], widths[2]) > 140
    uniform = make_plan(groups, scores, Budget(units=0.7), "uniform", kinds=("mlp_hidden",))
    assert objective(plan.kept) < 0.5 * objective(uniform.kept)


def test_what_it_needs_is_said(deep: Groups, tmp_path: Path) -> None:
    problem = replace(problem_of(deep), instruments=Instruments())
    with pytest.raises(PlanError, match="give make_plan Instruments"):
        SPEC.order(problem)
    with pytest.raises(RunError, match="is no URL of a database"):
        plan_of(deep, Evolution(storage="nowhere"))
    for name in ("population", "generations", "images"):
        with pytest.raises(PlanError, match=rf"plan\.evolution\.{name} is 0, but must be"):
            Evolution(**{name: 0})


def test_a_candidate_whose_outputs_are_no_numbers_is_never_chosen(deep: Groups) -> None:
    def objective(kept: Kept) -> float:
        return float("nan") if len(kept["blocks.1.mlp.hidden"]) < 90 else toy(kept)

    problem = problem_of(deep, objective=objective)
    assert len(fit_budget(problem, SPEC.order(problem)).kept["blocks.1.mlp.hidden"]) >= 90
