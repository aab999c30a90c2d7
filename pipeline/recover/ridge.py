"""Ridge regression of what a layer is to say on what it reads, towards the weights that are there already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import torch
from torch import Tensor

from secateur.pipeline.statistics.moments import Moments

ROUNDING = 1e-12
"""Directions in which h varies by less than this share of the most are rounding errors of its moments in float64."""


@dataclass(frozen=True)
class Fit:
    """What a layer makes of its inputs h: W h + b, with W `[out, in]` and b `[out]` (None: a layer without one)."""

    weight: Tensor
    bias: Tensor | None

    def of(self, rows: Tensor) -> Fit:
        """The layer with these outputs only, a mask `[out]`."""
        rows = rows.to(self.weight.device)
        return Fit(self.weight[rows], None if self.bias is None else self.bias[rows])


@dataclass(frozen=True)
class Pairs:
    """Inputs h `[in]` and targets t `[out]` of many rows, in float64: their count, sums, and sums of products.

    `hh` is `[in, in]`, `th` `[out, in]`, and `tt` the sum of all |t|^2.
    """

    count: float
    h: Tensor
    t: Tensor
    hh: Tensor
    th: Tensor
    tt: Tensor

    @staticmethod
    def of_rows(moments: Moments, inputs: int) -> Pairs:
        """From moments of rows (h, t), the first `inputs` of which are h."""
        d, outer = inputs, moments.outer
        h, t = moments.total[:d], moments.total[d:]
        return Pairs(moments.count, h, t, outer[:d, :d], outer[d:, :d], outer[d:, d:].trace())

    @staticmethod
    def of_layer(moments: Moments, weight: Tensor, encoder: Tensor) -> Pairs:
        """From moments of what a layer read, x: it said t = W x, and is to say it from h = E x."""
        outer = moments.outer
        read = weight @ outer
        index = selected(encoder)
        if index is None:
            h, hh, th = encoder @ moments.total, encoder @ outer @ encoder.T, read @ encoder.T
        else:
            h, hh, th = moments.total[index], outer[index][:, index], read[:, index]
        return Pairs(moments.count, h, weight @ moments.total, hh, th, (read * weight).sum())

    def __add__(self, other: Pairs) -> Pairs:
        return Pairs(*(getattr(self, part.name) + getattr(other, part.name) for part in fields(self)))

    def products(self, centred: bool) -> tuple[Tensor, Tensor, Tensor]:
        """The mean products of h with itself and of t with h, and the mean of |t|^2, about the means if `centred`."""
        return self._about_means if centred else self._about_zero

    @cached_property
    def _about_zero(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.hh / self.count, self.th / self.count, self.tt / self.count

    @cached_property
    def _about_means(self) -> tuple[Tensor, Tensor, Tensor]:
        within, across, spread = self._about_zero
        h, t = self.h / self.count, self.t / self.count
        return within - torch.outer(h, h), across - torch.outer(t, h), spread - t.square().sum()


def fit_towards(there: Fit, pairs: Pairs, ridge: float) -> Fit:
    """argmin E |t - W h - b|^2 + ridge v |W - W_0|^2, with v the mean variance of h and W_0 the weight of `there`.

    A layer without a bias is fitted without one. Where h is degenerate, the ridge keeps the solution unique; with
    ridge 0 the pseudo-inverse is taken.
    """
    within, across, _ = pairs.products(there.bias is not None)
    lost = across - there.weight @ within
    if not len(within):
        weight = there.weight
    elif ridge > 0:
        strength = ridge * within.diagonal().mean().clamp_min(1e-30)
        weight = there.weight + torch.linalg.solve(within + strength * torch.eye(len(within)).to(within), lost.T).T
    else:
        weight = there.weight + lost @ torch.linalg.pinv(within, hermitian=True, rtol=ROUNDING)
    return Fit(weight, None if there.bias is None else (pairs.t - weight @ pairs.h) / pairs.count)


def error_of(fit: Fit, pairs: Pairs) -> float:
    """E |t - W h - b|^2 over the rows that `pairs` were gathered from."""
    within, across, spread = pairs.products(centred=True)
    mean = (pairs.t - fit.weight @ pairs.h) / pairs.count - (0 if fit.bias is None else fit.bias)
    around = spread - 2 * (fit.weight * across).sum() + ((fit.weight @ within) * fit.weight).sum()
    return float(around.clamp_min(0) + mean.square().sum())


def left_by(weight: Tensor, encoder: Tensor) -> Fit:
    """What a layer y = W x makes of h = E x alone: the weights of features that E selects, else W E^+; no bias yet."""
    index = selected(encoder)
    left = weight @ torch.linalg.pinv(encoder) if index is None else weight[:, index]
    return Fit(left, weight.new_zeros(len(weight)))


def selected(encoder: Tensor) -> Tensor | None:
    """The features that the rows of `encoder` `[kept, features]` select, `[kept]`; None for one that mixes them."""
    index = encoder.argmax(1) if len(encoder) else torch.zeros(0, dtype=torch.long, device=encoder.device)
    chosen = torch.zeros_like(encoder).scatter(1, index[:, None], 1)
    return index if torch.equal(chosen, encoder) else None


@dataclass(frozen=True)
class Repair:
    """What was done to one layer: the way (`none` where nothing beat what was there), and its ridge.

    The errors are mean squared errors of the layer's output (of an attention's logits for `products`, of the
    residual stream for `stream`) on images held out from the fit, before and after.
    """

    layer: str
    way: str
    ridge: float | None
    error_before: float
    error_after: float


@dataclass(frozen=True)
class Choice:
    """What suits the matrices of a layer best: the way, the ridge (None: what was there), and what they become."""

    way: str
    ridge: float | None
    before: float
    after: float
    fits: Sequence[Fit]

    @property
    def fit(self) -> Fit:
        """All matrices as one, with their outputs one below the other."""
        biases = [fit.bias for fit in self.fits if fit.bias is not None]
        return Fit(torch.cat([fit.weight for fit in self.fits]), torch.cat(biases) if biases else None)

    def repair(self, layer: str) -> Repair:
        """The choice as reports have it."""
        return Repair(layer, self.way, self.ridge, self.before, self.after)


Task = tuple[Fit, Sequence[Pairs]]
"""A matrix as it is there, and the folds of what it is to be fitted to."""


def choose(there: Sequence[Task], ways: Mapping[str, Sequence[Task]], ridges: Sequence[float]) -> Choice:
    """The way and the ridge with the least error of all matrices together, by cross-validation over the folds.

    A layer may be several matrices (a grouped convolution). `there` is what they are now: it stays unless something
    does better on rows held out.
    """
    before = sum(sum(error_of(fit, fold) for fold in folds) / len(folds) for fit, folds in there)
    best: tuple[float, str, float | None] = (before, "none", None)
    for way, tasks in ways.items():
        for ridge in ridges:
            error = sum(cross_validated(fit, folds, ridge) for fit, folds in tasks)
            best = min(best, (error, way, ridge), key=lambda found: found[0])
    error, way, strength = best
    if strength is None:
        return Choice(way, None, before, before, [fit for fit, _ in there])
    return Choice(way, strength, before, error, [fit_towards(fit, summed(folds), strength) for fit, folds in ways[way]])


def cross_validated(there: Fit, folds: Sequence[Pairs], ridge: float) -> float:
    """The mean error on each fold of a fit to the other ones."""
    errors = []
    for place, held_out in enumerate(folds):
        rest = [fold for other, fold in enumerate(folds) if other != place]
        errors.append(error_of(fit_towards(there, summed(rest), ridge), held_out))
    return sum(errors) / len(errors)


def summed(folds: Sequence[Pairs]) -> Pairs:
    """The pairs of all folds."""
    total = folds[0]
    for fold in folds[1:]:
        total = total + fold
    return total
