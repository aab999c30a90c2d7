"""The search: what it tries, how it goes on, and that workers share one study, in SQLite and in PostgreSQL."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from torch import Tensor, nn

from secateur.core.errors import NotFiniteError, PlanError, RunError
from secateur.pipeline.analysis import rule_search as module
from secateur.pipeline.analysis.pruning_curve import Shape, a_pr, curve
from secateur.pipeline.analysis.rule_search import Found, search
from secateur.pipeline.analysis.rule_space import parameters_of
from secateur.pipeline.scores.lrp.composite import NAMED, find_composite
from secateur.pipeline.scores.lrp.method import Lrp
from secateur.pipeline.scores.score import score
from secateur.pipeline.structure.groups import Groups

Batches = list[tuple[Tensor, Tensor]]
SHAPE = Shape(("mlp_hidden", "head"), rates=(0.0, 0.5, 0.8))


@pytest.fixture
def judged(vit: nn.Module) -> Batches:
    """Images whose labels are the dense model's own predictions, so that removal costs accuracy."""
    images = torch.randn(60, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return [(images, vit(images).argmax(1))]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'study.db'}"


def look(
    vit: nn.Module, groups: Groups, batches: Batches, judged: Batches, trials: int, url: str, **given: Any
) -> Found:
    return search(vit, groups, batches, judged, trials, url, SHAPE, **given)


@pytest.mark.nightly
def test_named_composites_come_first_and_the_best_is_what_a_curve_measures(
    vit: nn.Module, vit_groups: Groups, batches: Batches, judged: Batches, url: str
) -> None:
    said: list[str] = []
    found = look(vit, vit_groups, batches, judged, len(NAMED) + 2, url, finalists=0, report=said.append)
    assert [row.number for row in found.trials] == list(range(len(NAMED) + 2))
    for row, name in zip(found.trials, NAMED, strict=False):
        assert row.parameters == parameters_of(find_composite(name), attention=True)
    assert found.a_pr == max(row.a_pr for row in found.trials if row.complete)
    assert measured(vit, vit_groups, found, batches, judged) == pytest.approx(found.a_pr)
    assert f"A_PR {found.a_pr:.2f}" in " ".join(said)


def measured(vit: nn.Module, groups: Groups, found: Found, reference: Batches, judged: Batches) -> float:
    """The A_PR of what was found."""
    scores = score(vit, groups, reference, "lrp", composite=found.composite)  # type: ignore[arg-type]  # batches are enough
    return a_pr(curve(vit, groups, scores, judged, SHAPE))


@pytest.mark.nightly
def test_finalists_are_judged_both_ways_round_and_the_mean_decides(
    vit: nn.Module, vit_groups: Groups, batches: Batches, judged: Batches, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    found = look(vit, vit_groups, batches, judged, 6, url, finalists=6, report=said.append)
    assert sum("swapped" in line for line in said) == sum(row.complete for row in found.trials)
    both = [measured(vit, vit_groups, found, *sides) for sides in ((batches, judged), (judged, batches))]
    assert found.a_pr == pytest.approx(sum(both) / 2)
    assert look(vit, vit_groups, batches, judged, 6, url, finalists=6, report=said.append) == found
    assert sum("swapped" in line for line in said) == sum(row.complete for row in found.trials)  # held once

    _, second, *_ = sorted((row for row in found.trials if row.complete), key=lambda row: -row.a_pr)
    study = optuna.load_study(study_name=found.study, storage=url)
    for row in found.trials:
        study.set_user_attr(f"swapped {row.number}", 100.0 if row.number == second.number else 0.0)
    other = look(vit, vit_groups, batches, judged, 6, url, finalists=2)
    assert other.a_pr == pytest.approx((100.0 + second.a_pr) / 2)
    assert parameters_of(other.composite, attention=True) == second.parameters


@pytest.mark.nightly
def test_a_stopped_search_goes_on_as_if_it_had_not_been(
    vit: nn.Module, vit_groups: Groups, batches: Batches, judged: Batches, tmp_path: Path
) -> None:
    whole, parts = (f"sqlite:///{tmp_path / name}.db" for name in ("whole", "parts"))
    expected = look(vit, vit_groups, batches, judged, 12, whole, finalists=1)  # the first ten are drawn at random
    look(vit, vit_groups, batches, judged, 3, parts, finalists=1)
    assert look(vit, vit_groups, batches, judged, 12, parts, finalists=1) == expected
    assert look(vit, vit_groups, batches, judged, 9, parts, finalists=1) == expected  # more trials than are asked for
    for changed in ({"identity": "other images"}, {"seed": 1}):
        assert look(vit, vit_groups, batches, judged, 1, parts, finalists=0, **changed).study != expected.study


def test_a_trial_that_is_interrupted_leaves_no_row(
    vit: nn.Module, vit_groups: Groups, batches: Batches, judged: Batches, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*args: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "curve", stopped)
        look(vit, vit_groups, batches, judged, 2, url)
    found = look(vit, vit_groups, batches, judged, 2, url)
    assert [row.number for row in found.trials] == [1, 2]


def test_a_trial_behind_the_median_is_given_up(
    vit: nn.Module, vit_groups: Groups, batches: Batches, judged: Batches, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = tuple(step / 10 for step in range(9))
    measured: list[float] = []
    original = module.curve

    def worse(*args: Any, **options: Any) -> Any:
        (rate,) = args[4].rates
        measured.append(rate)
        drop = 50.0 if len(measured) > 5 * len(rates) else 0.0
        return [type(point)(point.rate, 1.0, 1, 90.0 - drop) for point in original(*args, **options)]

    monkeypatch.setattr(module, "curve", worse)
    found = search(vit, vit_groups, batches, judged, 6, url, Shape(("mlp_hidden",), rates=rates), finalists=0)
    assert measured[:3] == [0.5, 0.4, 0.6]
    assert [row.complete for row in found.trials] == [True] * 5 + [False]
    assert len(measured) == 5 * len(rates) + 4
    assert found.trials[-1].a_pr == 40.0


def test_rules_that_overflow_are_given_up_and_the_search_goes_on(
    vit: nn.Module, vit_groups: Groups, batches: Batches, judged: Batches, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overflow(model: Any, groups: Any, loader: Any, method: Lrp) -> Any:
        if find_composite(method.composite).rule("first", "linear").name == "gamma":
            raise NotFiniteError("too large")
        return score(model, groups, loader, method)

    monkeypatch.setattr(module, "score", overflow)
    found = look(vit, vit_groups, batches, judged, 3, url)
    assert [(row.complete, row.a_pr == 0) for row in found.trials] == [(True, False), (False, True), (True, False)]
    monkeypatch.setattr(module, "score", lambda model, *others: overflow(model, *others[:2], Lrp("gamma")))
    with pytest.raises(RunError, match="no trial of the search was completed"):
        look(vit, vit_groups, batches, judged, 1, url, study_name="all overflow")


def test_models_without_attention_are_searched_without_its_rules(batches: Batches, url: str) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(768, 6), nn.ReLU(), nn.Linear(6, 5))
    groups = Groups((), (), (), {}, frozenset(), (3, 16, 16))
    with pytest.raises(
        PlanError, match="nothing to score"
    ):  # it has no units to remove, but the trial was made before that is seen
        search(model, groups, batches, batches, 1, url, Shape(("mlp_hidden",), rates=(0.5,)), study_name="plain")
    (trial, *waiting) = optuna.load_study(study_name="plain", storage=url).trials
    assert "attention" not in trial.params
    assert len(waiting) == len(NAMED) - 2  # the first is running, and one differs by its attention alone


@pytest.mark.nightly
def test_workers_share_a_study(
    vit: nn.Module, vit_groups: Groups, batches: Batches, judged: Batches, postgresql: str
) -> None:
    def worker(model: nn.Module) -> Found:
        return look(model, vit_groups, batches, judged, 8, postgresql, study_name="shared")

    look(vit, vit_groups, batches, judged, 1, postgresql, study_name="shared")
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(worker, [vit, copy.deepcopy(vit)])
    rows = max(one.trials, other.trials, key=len)
    assert 8 <= len(rows) <= 9  # a worker finishes the trial that it is in
    assert len({row.number for row in rows}) == len(rows)
    assert len({str(row.parameters) for row in rows}) == len(rows)


def test_a_search_needs_a_trial(vit: nn.Module, vit_groups: Groups, batches: Batches, url: str) -> None:
    with pytest.raises(PlanError, match="1 trial or more"):
        look(vit, vit_groups, batches, batches, 0, url)
