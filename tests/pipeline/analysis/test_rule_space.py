"""What a search chooses: every choice is reached, and a composite comes back from its parameters."""

from __future__ import annotations

import optuna
import pytest

from secateur.pipeline.analysis.rule_space import GAMMAS, composite_of, parameters_of, suggest
from secateur.pipeline.scores.aggregate import AGGREGATES
from secateur.pipeline.scores.lrp.attention import SOFTMAX_RULES
from secateur.pipeline.scores.lrp.composite import DEPTHS, NAMED, find_composite
from secateur.pipeline.scores.lrp.rules import RULES


def fixed(**changes: object) -> optuna.trial.FixedTrial:
    parameters = {f"{depth}_rule": "epsilon" for depth in DEPTHS}
    return optuna.trial.FixedTrial({**parameters, "attention": "cp", "aggregate": "signed", **changes})


def test_a_trial_chooses_each_depth_the_softmax_rule_and_the_aggregate() -> None:
    composite = suggest(fixed(first_rule="gamma", first_gamma=0.5, last_rule="z_plus"), attention=True)
    assert [composite.rule(depth, "linear").name for depth in DEPTHS] == ["gamma", "epsilon", "z_plus", "epsilon"]
    assert composite.rule("first", "convolution").parameters == {"gamma": 0.5}
    assert (composite.attention, composite.aggregate) == ("cp", "signed")


def test_every_choice_is_open() -> None:
    trial = fixed(middle_rule="gamma", middle_gamma=0.1)
    suggest(trial, attention=True)
    choices = {name: getattr(found, "choices", None) for name, found in trial.distributions.items()}
    assert all(choices[f"{depth}_rule"] == RULES.names() for depth in DEPTHS)
    assert choices["attention"] == tuple(SOFTMAX_RULES)
    assert choices["aggregate"] == AGGREGATES
    gamma = trial.distributions["middle_gamma"]
    assert isinstance(gamma, optuna.distributions.FloatDistribution)
    assert (gamma.low, gamma.high, gamma.log) == (*GAMMAS, True)


def test_the_softmax_rule_is_left_out_where_there_is_none() -> None:
    trial = fixed()
    suggest(trial, attention=False)
    assert "attention" not in trial.distributions


@pytest.mark.parametrize("name", NAMED)
def test_named_composites_survive_the_way_through_parameters(name: str) -> None:
    composite = find_composite(name)
    again = composite_of(parameters_of(composite, attention=True))
    assert (again.attention, again.aggregate) == (composite.attention, composite.aggregate)
    for depth in DEPTHS:
        assert again.rule(depth, "convolution") == composite.rule(depth, "convolution")
    assert "attention" not in parameters_of(composite, attention=False)
