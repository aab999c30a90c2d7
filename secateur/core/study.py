"""The study of a search: Optuna's record of all trials, in a database that workers and machines share."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError

from secateur.core.errors import MissingPackageError, RunError

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
HEARTBEAT_SECONDS = 60
OPENINGS = 5
_EXAMPLES = "sqlite:///search.db or postgresql://user@host/database"


@dataclass(frozen=True)
class TrialRow:
    """One trial: its A_PR in percent (of a pruned trial, the mean over the rates it reached), and its parameters."""

    number: int
    a_pr: float
    complete: bool
    parameters: dict[str, Any]


def open_study(storage: str, name: str, seed: int) -> optuna.Study:
    """The study of that name in the database at the URL `storage`, made where it is not there yet.

    A worker that dies stops its heartbeat, and another one tries its trial again. Raises what `shared_study` does.
    """
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


def shared_study(storage: str, name: str, backend: Mapping[str, Any], **settings: Any) -> optuna.Study:
    """The study of that name in the database at the URL `storage`, made with `settings` where it is not there yet.

    `backend` goes to Optuna's storage. Raises `RunError` when the storage cannot be used, and `MissingPackageError`
    without PostgreSQL's driver.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url, shown = _url(storage)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            place = _opened(url, backend)
        return optuna.create_study(storage=place, study_name=name, load_if_exists=True, **settings)
    except Exception as error:  # SQLAlchemy, its drivers and Optuna raise errors without a common root
        if isinstance(error.__cause__, ModuleNotFoundError) and error.__cause__.name == "psycopg":
            raise MissingPackageError("psycopg", "a study in PostgreSQL", "fleet") from error
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"the storage {shown} cannot be used ({reason}): give a URL such as {_EXAMPLES}") from error


def trial_rows(study: optuna.Study) -> tuple[TrialRow, ...]:
    """The finished trials of a study in the order of their numbers."""
    rows = []
    for trial in study.get_trials(deepcopy=False, states=FINISHED):
        value = trial.intermediate_values[max(trial.intermediate_values)] if trial.value is None else trial.value
        rows.append(TrialRow(trial.number, float(value), trial.state == TrialState.COMPLETE, dict(trial.params)))
    return tuple(rows)


class SamplerByNumber(BaseSampler):
    """A tree-structured Parzen estimator that is drawn anew for each trial from the seed and the trial's number.

    Workers that share a study never draw alike, and a search that goes on draws what it would have drawn unstopped.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._inner = self._drawn(0)

    def _drawn(self, number: int) -> TPESampler:
        state = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return TPESampler(multivariate=True, group=True, n_startup_trials=10, seed=state)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The parameters that are drawn together."""
        self._inner = self._drawn(trial.number)
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Those parameters' values."""
        return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The value of a parameter that was not drawn with the others."""
        return self._inner.sample_independent(study, trial, param_name, param_distribution)


def _opened(url: str, backend: Mapping[str, Any]) -> RDBStorage:
    """Optuna's storage. Workers that start together all try to make its tables: those who come second look again."""
    for _ in range(OPENINGS):
        try:
            return RDBStorage(url, **backend)
        except DBAPIError as error:
            if not isinstance(error, IntegrityError) and "already exists" not in str(error):
                raise
            time.sleep(0.5)
    return RDBStorage(url, **backend)


def _url(storage: str) -> tuple[str, str]:
    """The URL with its driver, and the URL as messages may show it."""
    try:
        url = make_url(storage)
    except ArgumentError as error:
        raise RunError(f"the storage is no URL of a database: give one such as {_EXAMPLES}") from error
    if url.drivername == "postgresql":  # SQLAlchemy's default driver differs between its versions
        url = url.set(drivername="postgresql+psycopg")
    return url.render_as_string(hide_password=False), url.render_as_string(hide_password=True)
