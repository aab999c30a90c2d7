"""The sampler of a search that workers share and that may stop: a trial's draw depends on its number alone."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial


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
