"""Searches the composite of relevance rules that prunes best, with Optuna."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from secateur.core.errors import NotFiniteError, PlanError, RunError
from secateur.core.files import sha256_json
from secateur.core.modules import device_of, frozen
from secateur.core.say import Say
from secateur.core.study import TrialRow, finished, open_study, quiet, trial_rows
from secateur.pipeline.analysis.pruning_curve import Shape, curve
from secateur.pipeline.analysis.rule_space import composite_of, parameters_of, suggest
from secateur.pipeline.data.loader import Batches
from secateur.pipeline.scores.lrp.composite import NAMED, Composite, find_composite
from secateur.pipeline.scores.lrp.method import Lrp
from secateur.pipeline.scores.lrp.relevance import record
from secateur.pipeline.scores.score import score
from secateur.pipeline.structure.groups import Groups

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

FINALISTS = 5


@dataclass(frozen=True)
class Found:
    """The best composite with its A_PR in percent (a finalist's mean over both ways round), and all finished trials."""

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
    finalists: int = FINALISTS,
    report: Say = lambda message: None,
) -> Found:
    """The best composite by A_PR on the `held_out` images, scores being computed on the `reference` ones.

    The best of many noisy trials is lucky in part: the `finalists` best are judged again with the two sets of images
    swapped, and the mean decides (0: no finals).

    The study lives at the URL `storage` and goes on until it has `trials` finished ones, whoever ran them: a killed
    search, other workers and other machines share it. Its default name is a hash of `identity` and of what is
    searched. The named composites are tried first; then the tree-structured Parzen estimator chooses, and a trial
    that falls behind the median is given up. Raises `RunError` when the storage cannot be used.

    >>> shape = Shape(kinds=("head",), rates=(0.3,))
    >>> found = sc.search(model, groups, loader, loader, 1, "sqlite:///rules.db", shape, finalists=0)
    >>> len(found.trials)
    1
    """
    import optuna
    from optuna.study import MaxTrialsCallback
    from optuna.trial import TrialState

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
        total, last = 0.0, len(shape.rates) - 1
        try:
            for step, top1 in enumerate(_points(model, groups, suggest(trial, attention), reference, held_out, shape)):
                total += top1
                trial.report(total / (step + 1), step)
                if step < last and trial.should_prune():
                    raise optuna.TrialPruned
        except NotFiniteError as error:  # rules that overflow on this model prune nothing, and the search goes on
            trial.report(0.0, 0)
            raise optuna.TrialPruned(str(error)) from error
        report(f"trial {trial.number}: A_PR {total / len(shape.rates):.2f}")
        return total / len(shape.rates)

    def swapped(trial: FrozenTrial) -> float:
        try:
            points = list(_points(model, groups, composite_of(trial.params), held_out, reference, shape))
        except NotFiniteError:  # as in a trial
            points = [0.0]
        report(f"trial {trial.number} with the images swapped: A_PR {sum(points) / len(points):.2f}")
        return sum(points) / len(points)

    if len(study.get_trials(deepcopy=False, states=finished())) < trials:
        callbacks = [MaxTrialsCallback(trials, finished())]
        with quiet():
            study.optimize(objective, callbacks=callbacks, gc_after_trial=torch.cuda.is_available())
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        raise RunError("no trial of the search was completed: ask for more trials with --search")
    best, a_pr = _best(study, finalists, swapped)
    return Found(name, composite_of(best.params), a_pr, trial_rows(study))


def _points(
    model: nn.Module, groups: Groups, composite: Composite, reference: Batches, judged: Batches, shape: Shape
) -> Iterator[float]:
    """Top-1 at each rate, from the middle outwards: there trials differ most, so that the bad ones go early."""
    scores = score(model, groups, reference, Lrp(composite))
    for rate in sorted(shape.rates, key=lambda rate: abs(rate - 0.5)):
        one = Shape(shape.kinds, shape.allocate, (rate,))
        (point,) = curve(model, groups, scores, judged, one, verify=False)
        yield point.top1


def _best(study: optuna.Study, finalists: int, swapped: Callable[[FrozenTrial], float]) -> tuple[FrozenTrial, float]:
    """The winner of the finals with its mean A_PR; the study remembers them, so that they are held once."""
    from optuna.trial import TrialState

    if not finalists:
        return study.best_trial, study.best_value
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    means = []
    for trial in sorted(complete, key=lambda trial: (-(trial.value or 0.0), trial.number))[:finalists]:
        key = f"swapped {trial.number}"
        if key not in study.user_attrs:
            study.set_user_attr(key, swapped(trial))
        means.append(((study.user_attrs[key] + trial.value) / 2, trial))
    mean, best = max(means, key=lambda one: one[0])
    return best, mean


def _attends(model: nn.Module, reference: Batches) -> bool:
    """Whether the model has a softmax whose rule matters."""
    images, _ = next(iter(reference))
    with frozen(model):
        return record(model, images[:1].to(device_of(model)))[0].attention
