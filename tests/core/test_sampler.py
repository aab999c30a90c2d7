"""The sampler: a trial's draw depends on its number alone, whoever draws and however often the search was stopped."""

from __future__ import annotations

import optuna
from optuna.storages import InMemoryStorage

from secateur.core.sampler import SamplerByNumber


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
