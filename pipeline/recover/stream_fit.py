"""Ridge regression that pulls towards weights that are there already, and the choice of its strength."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from secateur.pipeline.recover.ridge import summed
from secateur.pipeline.statistics.moments import Moments

RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""The strengths that are tried, as shares of the inputs' mean variance."""


@dataclass(frozen=True)
class Chosen:
    """The new weight and bias, the ridge (None: nothing was better than what was there), errors on rows held out."""

    weight: Tensor
    bias: Tensor | None
    ridge: float | None
    error_before: float
    error_after: float


def choose(weight: Tensor, bias: Tensor | None, folds: Sequence[Moments], ridges: Sequence[float]) -> Chosen:
    """The best of `ridges` by the error on each fold of a fit to the others, fitted to all of them.

    `folds` are the moments of rows `(h, t)`, inputs `[d]` beside targets `[out]`; `weight` is `[out, d]`. What is
    there is kept unless some ridge does better.
    """
    before = sum(error_of(weight, bias, part) for part in folds) / len(folds)
    best: tuple[float, float | None] = (before, None)
    for ridge in ridges:
        errors = []
        for place, held_out in enumerate(folds):
            rest = summed([part for other, part in enumerate(folds) if other != place])
            errors.append(error_of(*pulled(weight, bias, rest, ridge), held_out))
        best = min(best, (sum(errors) / len(errors), ridge), key=lambda found: found[0])
    error, chosen = best
    if chosen is not None:
        weight, bias = pulled(weight, bias, summed(folds), chosen)
    return Chosen(weight, bias, chosen, before, error)


def pulled(weight: Tensor, bias: Tensor | None, moments: Moments, ridge: float) -> tuple[Tensor, Tensor | None]:
    """argmin E |t - W h - b|^2 + ridge v |W - W_0|^2 with v the mean variance of h and W_0 `weight`.

    A layer without a bias is fitted without one.
    """
    d = weight.shape[1]
    both = moments.second if bias is None else moments.covariance
    within, across = both[:d, :d], both[d:, :d]
    strength = ridge * within.diagonal().mean().clamp_min(1e-30)
    solved: Tensor = torch.linalg.solve(within + strength * torch.eye(d).to(within), (across + strength * weight).T).T
    return solved, None if bias is None else moments.mean[d:] - solved @ moments.mean[:d]


def error_of(weight: Tensor, bias: Tensor | None, moments: Moments) -> float:
    """E |t - W h - b|^2 over the rows that `moments` were gathered from."""
    d = weight.shape[1]
    both = moments.covariance
    spread = both[d:, d:].trace() - 2 * (weight * both[d:, :d]).sum() + ((weight @ both[:d, :d]) * weight).sum()
    mean = moments.mean[d:] - weight @ moments.mean[:d] - (0 if bias is None else bias)
    return float(spread + mean.square().sum())
