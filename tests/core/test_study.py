"""The study: its storages, what a bad one says, and that the caller's logging stays as it was."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
from pathlib import Path
from threading import Barrier, Thread

import optuna
import pytest

from secateur.core.errors import MissingPackageError, RunError
from secateur.core.study import database_url, engine_options, open_study, quiet, shared_study, trial_rows


def draw(trial: optuna.Trial) -> float:
    rule = trial.suggest_categorical("rule", ["epsilon", "gamma", "z_plus"])
    return trial.suggest_float("gamma", 0, 1) if rule == "gamma" else trial.suggest_float("other", 0, 2)


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


def test_postgresql_holds_a_study_without_options_of_its_own(postgresql: str) -> None:
    shared_study(postgresql, "plain").optimize(draw, 2)
    assert len(shared_study(postgresql, "plain").trials) == 2


@pytest.mark.parametrize("url", ["postgresql://user@host/database", "mysql+pymysql://host/database"])
def test_only_sqlite_gets_the_options_of_sqlite(url: str) -> None:
    assert engine_options(database_url(url)) == {}
    assert engine_options(database_url("sqlite:///study.db")) == {"connect_args": {"timeout": 60}}


def test_without_a_storage_a_study_is_in_memory() -> None:
    shared_study("", "one").optimize(draw, 1)
    assert not shared_study("", "one").trials


@pytest.mark.parametrize("verbosity", [logging.DEBUG, logging.INFO, logging.ERROR])
def test_the_callers_verbosity_is_put_back(verbosity: int, tmp_path: Path) -> None:
    before = optuna.logging.get_verbosity()
    try:
        optuna.logging.set_verbosity(verbosity)
        with quiet(), quiet():
            assert optuna.logging.get_verbosity() == logging.WARNING
        open_study(f"sqlite:///{tmp_path / 'study.db'}", "one", 0)
        with pytest.raises(RunError):
            open_study("study.db", "one", 0)
        assert optuna.logging.get_verbosity() == verbosity
    finally:
        optuna.logging.set_verbosity(before)


def test_overlapping_threads_put_it_back_too() -> None:
    before, entered, left = optuna.logging.get_verbosity(), Barrier(2), Barrier(2)
    assert before != logging.WARNING

    def first() -> None:
        with quiet():
            entered.wait(10)
        left.wait(10)

    def second() -> None:
        with quiet():
            entered.wait(10)
            left.wait(10)  # the one that came first has gone

    threads = [Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert optuna.logging.get_verbosity() == before


def test_a_new_database_leaves_loggers_and_warnings_as_they_were(tmp_path: Path) -> None:
    code = f"""
import logging, warnings
from secateur.core.study import open_study
open_study("sqlite:///{tmp_path / "first.db"}", "one", 0)
assert logging.getLogger("alembic").level == logging.NOTSET
filters = list(warnings.filters)  # packages add some when they are imported
logging.getLogger("alembic").setLevel(logging.DEBUG)
open_study("sqlite:///{tmp_path / "second.db"}", "one", 0)
assert logging.getLogger("alembic").level == logging.DEBUG
assert not logging.getLogger().handlers and logging.getLogger().level == logging.WARNING
assert warnings.filters == filters
"""
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


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
