"""The study: its storages, what a bad one says, and that a trial's draw depends on its number alone."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import optuna
import pytest
from optuna.storages import InMemoryStorage

from secateur.core.errors import MissingPackageError, RunError
from secateur.core.study import SamplerByNumber, open_study, trial_rows


def draw(trial: optuna.Trial) -> float:
    rule = trial.suggest_categorical("rule", ["epsilon", "gamma", "z_plus"])
    return trial.suggest_float("gamma", 0, 1) if rule == "gamma" else trial.suggest_float("other", 0, 2)


def test_workers_and_restarts_draw_as_one_would() -> None:
    def study(seed: int) -> optuna.Study:
        return optuna.create_study(storage=InMemoryStorage(), sampler=SamplerByNumber(seed), direction="maximize")

    whole, parts, other = study(0), study(0), study(1)
    whole.optimize(draw, 24)
    for count in (3, 10, 11):
        parts.sampler = SamplerByNumber(0)
        parts.optimize(draw, count)
    other.optimize(draw, 24)
    drawn = [[trial.params for trial in one.trials] for one in (whole, parts, other)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len({str(parameters) for parameters in drawn[0]}) == 24


def test_a_study_is_shared_by_name(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    open_study(url, "one", 0).optimize(draw, 2)
    assert len(open_study(url, "one", 0).trials) == 2
    assert not open_study(url, "other", 0).trials


def test_rows_are_finished_trials_and_a_pruned_one_counts_as_far_as_it_came(tmp_path: Path) -> None:
    study = open_study(f"sqlite:///{tmp_path / 'study.db'}", "one", 0)

    def objective(trial: optuna.Trial) -> float:
        trial.suggest_float("x", 0, 1)
        for step, value in enumerate((30.0, 20.0)):
            trial.report(value, step)
        if trial.number == 1:
            raise optuna.TrialPruned
        if trial.number == 2:
            raise ValueError("broken")
        return 25.0

    study.optimize(objective, 3, catch=(ValueError,))
    rows = trial_rows(study)
    assert [(row.number, row.a_pr, row.complete) for row in rows] == [(0, 25.0, True), (1, 20.0, False)]
    assert set(rows[0].parameters) == {"x"}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("study.db", "is no URL of a database"),
        ("nosuch://host/database", "nosuch"),
        ("sqlite:////nowhere/at/all/study.db", "unable to open database file"),
        ("postgresql://user:hidden@localhost:1/database", r"user:\*\*\*@localhost"),
    ],
)
def test_a_bad_storage_is_one_sentence_without_the_password(url: str, message: str) -> None:
    with pytest.raises(RunError, match=message) as caught:
        open_study(url, "one", 0)
    assert "hidden" not in str(caught.value)


def test_a_missing_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingPackageError, match=r"secateur\[fleet\]"):
        open_study("postgresql://user@localhost/database", "one", 0)


def test_postgresql_holds_a_study(postgresql: str) -> None:
    open_study(postgresql, "held", 0).optimize(draw, 3)
    again = open_study(postgresql, "held", 0)
    assert [row.number for row in trial_rows(again)] == [0, 1, 2]


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")  # the worker that dies asks for its trial by hand
def test_the_trial_of_a_worker_that_died_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    died = open_study(f"sqlite:///{path}", "one", 0)
    trial = died.ask()
    params = {"rule": trial.suggest_categorical("rule", ["epsilon", "gamma", "z_plus"])}
    died._storage.record_heartbeat(trial._trial_id)
    with sqlite3.connect(path) as database:
        database.execute("update trial_heartbeats set heartbeat = datetime('now', '-1 hour')")
    database.close()
    study = open_study(f"sqlite:///{path}", "one", 0)
    study.optimize(draw, 1)
    assert [found.state.name for found in study.trials] == ["FAIL", "COMPLETE"]
    assert params.items() <= study.trials[1].params.items()
    assert [row.number for row in trial_rows(study)] == [1]
