"""The study of a search: Optuna's record of all trials, in a database that workers and machines share.

Optuna and SQLAlchemy are slow to import, so that only the functions that use them do.
"""

from __future__ import annotations

import logging
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from secateur.core.errors import MissingPackageError, RunError

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import RDBStorage
    from optuna.trial import TrialState
    from sqlalchemy.engine import URL

HEARTBEAT_SECONDS = 60
SQLITE_WAIT_SECONDS = 60
"""How long a worker waits for another one that writes to the same file; servers queue by themselves."""
OPENINGS = 5
_EXAMPLES = "sqlite:///search.db or postgresql://user@host/database"
_QUIET = threading.RLock()
_quiet_blocks = 0
_verbosity = logging.NOTSET


@dataclass(frozen=True)
class TrialRow:
    """One trial: its A_PR in percent (of a pruned trial, the mean over the rates it reached), and its parameters."""

    number: int
    a_pr: float
    complete: bool
    parameters: dict[str, Any]


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna says warnings only, and afterwards what it said before; blocks of several threads may overlap."""
    import optuna

    global _quiet_blocks, _verbosity
    with _QUIET:
        if not _quiet_blocks:
            _verbosity = optuna.logging.get_verbosity()
            optuna.logging.set_verbosity(optuna.logging.WARNING)
        _quiet_blocks += 1
    try:
        yield
    finally:
        with _QUIET:
            _quiet_blocks -= 1
            if not _quiet_blocks:
                optuna.logging.set_verbosity(_verbosity)


def open_study(storage: str, name: str, seed: int) -> Study:
    """The study of that name in the database at the URL `storage`, made where it is not there yet.

    A worker that dies stops its heartbeat, and another one tries its trial again. Raises what `shared_study` does.
    """
    import optuna
    from optuna.exceptions import ExperimentalWarning
    from optuna.storages import RetryHeartbeatStaleTrialCallback

    from secateur.core.sampler import SamplerByNumber

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        retry = RetryHeartbeatStaleTrialCallback(max_retry=3)
    return shared_study(
        storage,
        name,
        {"heartbeat_interval": HEARTBEAT_SECONDS, "heartbeat_stale_trial_callback": retry},
        direction="maximize",
        sampler=SamplerByNumber(seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=3),
    )


def shared_study(storage: str, name: str, options: Mapping[str, Any] | None = None, **settings: Any) -> Study:
    """The study of that name in the database at the URL `storage`, made with `settings` where it is not there yet.

    `options` go to Optuna's storage. Without a storage, the study is in memory. Raises `RunError` when the storage
    cannot be used, and `MissingPackageError` without PostgreSQL's driver.
    """
    import optuna
    from optuna.exceptions import ExperimentalWarning

    with quiet():
        if not storage:
            return optuna.create_study(study_name=name, **settings)
        url = database_url(storage)
        try:
            with warnings.catch_warnings(), _alembic_as_it_is():
                warnings.simplefilter("ignore", ExperimentalWarning)
                place = _opened(url, options or {})
            return optuna.create_study(storage=place, study_name=name, load_if_exists=True, **settings)
        except Exception as error:  # SQLAlchemy, its drivers and Optuna raise errors without a common root
            if isinstance(error.__cause__, ModuleNotFoundError) and error.__cause__.name == "psycopg":
                raise MissingPackageError("psycopg", "a study in PostgreSQL", "fleet") from error
            reason = " ".join(str(error).split())[:200]
            shown = url.render_as_string(hide_password=True)
            raise RunError(f"the storage {shown} cannot be used ({reason}): give a URL such as {_EXAMPLES}") from error


def finished() -> tuple[TrialState, ...]:
    """The states of trials that have a value."""
    from optuna.trial import TrialState

    return (TrialState.COMPLETE, TrialState.PRUNED)


def trial_rows(study: Study) -> tuple[TrialRow, ...]:
    """The finished trials of a study in the order of their numbers."""
    from optuna.trial import TrialState

    rows = []
    for trial in study.get_trials(deepcopy=False, states=finished()):
        value = trial.intermediate_values[max(trial.intermediate_values)] if trial.value is None else trial.value
        rows.append(TrialRow(trial.number, float(value), trial.state == TrialState.COMPLETE, dict(trial.params)))
    return tuple(rows)


def database_url(storage: str) -> URL:
    """The URL with its driver; raises `RunError` for what is none."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(storage)
    except ArgumentError as error:
        raise RunError(f"the storage is no URL of a database: give one such as {_EXAMPLES}") from error
    if url.drivername == "postgresql":  # SQLAlchemy's default driver differs between its versions
        url = url.set(drivername="postgresql+psycopg")
    return url


def engine_options(url: URL) -> dict[str, Any]:
    """What SQLAlchemy is told of a database: drivers refuse the options of others."""
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": SQLITE_WAIT_SECONDS}}
    return {}


def _opened(url: URL, options: Mapping[str, Any]) -> RDBStorage:
    """Optuna's storage. Workers that start together all try to make its tables: those who come second look again."""
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import DBAPIError, IntegrityError

    text = url.render_as_string(hide_password=False)
    for _ in range(OPENINGS):
        try:
            return RDBStorage(text, engine_options(url), **options)
        except DBAPIError as error:
            if not isinstance(error, IntegrityError) and "already exists" not in str(error):
                raise
            time.sleep(0.5)
    return RDBStorage(text, engine_options(url), **options)


@contextmanager
def _alembic_as_it_is() -> Iterator[None]:
    """Puts the level of Alembic's logger back, which Optuna sets for good when it makes the tables."""
    logger = logging.getLogger("alembic")
    level = logger.level
    try:
        yield
    finally:
        logger.setLevel(level)
