"""What a search may choose: the parameters of a trial, and the composite that they stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from secateur.pipeline.scores.aggregate import AGGREGATES
from secateur.pipeline.scores.lrp.attention import SOFTMAX_RULES
from secateur.pipeline.scores.lrp.composite import DEPTHS, Composite, find_composite
from secateur.pipeline.scores.lrp.rules import RULES

if TYPE_CHECKING:
    import optuna

GAMMAS = (0.01, 1.0)


def suggest(trial: optuna.Trial, attention: bool) -> Composite:
    """The composite of a trial: a rule with its gamma for each depth group, the softmax rule, the aggregate."""
    for depth in DEPTHS:
        if trial.suggest_categorical(f"{depth}_rule", list(RULES.names())) == "gamma":
            trial.suggest_float(f"{depth}_gamma", *GAMMAS, log=True)
    if attention:
        trial.suggest_categorical("attention", list(SOFTMAX_RULES))
    trial.suggest_categorical("aggregate", list(AGGREGATES))
    return composite_of(trial.params)


def composite_of(parameters: dict[str, Any]) -> Composite:
    """The composite that a trial's parameters stand for."""
    content: dict[str, Any] = {key: parameters[key] for key in ("attention", "aggregate") if key in parameters}
    for depth in DEPTHS:
        gamma = parameters.get(f"{depth}_gamma")
        content[depth] = {"rule": parameters[f"{depth}_rule"], **({} if gamma is None else {"gamma": gamma})}
    return find_composite(content)


def parameters_of(composite: Composite, attention: bool) -> dict[str, Any]:
    """The parameters of a trial that tries a composite; its convolutions' gamma serves for both types of layers."""
    parameters: dict[str, Any] = {"aggregate": composite.aggregate}
    if attention:
        parameters["attention"] = composite.attention
    for depth in DEPTHS:
        spec = composite.rule(depth, "convolution")
        parameters[f"{depth}_rule"] = spec.name
        if "gamma" in spec.parameters:
            parameters[f"{depth}_gamma"] = spec.parameters["gamma"]
    return parameters
