"""Searches the composite of relevance rules that prunes best, with Optuna."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import optuna
import torch
from optuna.study import MaxTrialsCallback
from optuna.trial import TrialState
from torch import nn

from secateur.pipeline.errors import NotFiniteError, PlanError, RunError
from secateur.pipeline.files import sha256_json
from secateur.pipeline.scores.curve import Batches, Shape, curve
from secateur.pipeline.scores.lrp.composite import NAMED, Composite, find_composite
from secateur.pipeline.scores.lrp.relevance import record
from secateur.pipeline.scores.observe import frozen
from secateur.pipeline.scores.score import score
from secateur.pipeline.scores.search.space import composite_of, parameters_of, suggest
from secateur.pipeline.scores.search.study import FINISHED, TrialRow, open_study, trial_rows
from secateur.pipeline.structure.groups import Groups

Report = Callable[[str], None]


@dataclass(frozen=True)
class Found:
    """The best composite with its A_PR in percent, and all finished trials of the study."""

    study: str
    composite: Composite
    a_pr: float
    trials: tuple[TrialRow, ...]


def search(
    model: nn.Module,
    groups: Groups,
    reference: Batches,
    held_out: Batches,
    trials: int,
    storage: str,
    shape: Shape | None = None,
    study_name: str | None = None,
    identity: object = None,
    seed: int = 0,
    report: Report = lambda message: None,
) -> Found:
    """The best composite by A_PR on the `held_out` images, scores being computed on the `reference` ones.

    The study lives at the URL `storage` and goes on until it has `trials` finished ones, whoever ran them: a killed
    search, other workers and other machines share it. Its default name is a hash of `identity` and of what is
    searched. The named composites are tried first; then the tree-structured Parzen estimator chooses, and a trial
    that falls behind the median is given up. Raises `RunError` when the storage cannot be used.
    """
    if trials < 1:
        raise PlanError(f"a search needs 1 trial or more, but got {trials}")
    shape = shape or Shape()
    name = study_name or f"secateur-{sha256_json([groups.fingerprint(), asdict(shape), seed, identity])[:12]}"
    attention = _attends(model, reference)
    study = open_study(storage, name, seed)
    if not study.get_trials(deepcopy=False):
        for word in NAMED:
            composite = find_composite(word)
            if attention or composite.attention == "attnlrp":
                study.enqueue_trial(parameters_of(composite, attention), skip_if_exists=True)

    def objective(trial: optuna.Trial) -> float:
        composite = suggest(trial, attention)
        try:
            scores = score(model, groups, reference, "lrp", composite=composite)  # type: ignore[arg-type]  # batches are enough
        except NotFiniteError as error:  # rules that overflow on this model prune nothing, and the search goes on
            trial.report(0.0, 0)
            raise optuna.TrialPruned(str(error)) from error
        # rates from the middle outwards: there trials differ most, so that the bad ones go early
        rates = sorted(shape.rates, key=lambda rate: abs(rate - 0.5))
        total = 0.0
        for step, rate in enumerate(rates):
            one = Shape(shape.kinds, shape.allocate, (rate,))
            (point,) = curve(model, groups, scores, held_out, one, verify=False)
            total += point.top1
            trial.report(total / (step + 1), step)
            if step + 1 < len(rates) and trial.should_prune():
                raise optuna.TrialPruned
        report(f"trial {trial.number}: A_PR {total / len(rates):.2f}")
        return total / len(rates)

    if len(study.get_trials(deepcopy=False, states=FINISHED)) < trials:
        callbacks = [MaxTrialsCallback(trials, FINISHED)]
        study.optimize(objective, callbacks=callbacks, gc_after_trial=torch.cuda.is_available())
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        raise RunError("no trial of the search was completed: ask for more trials with --search")
    best = study.best_trial
    return Found(name, composite_of(best.params), study.best_value, trial_rows(study))


def _attends(model: nn.Module, reference: Batches) -> bool:
    """Whether the model has a softmax whose rule matters."""
    images, _ = next(iter(reference))
    with frozen(model):
        return record(model, images[:1].to(next(model.parameters()).device))[0].attention
