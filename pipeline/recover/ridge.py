"""The best linear reconstruction of what a layer read, folded into its weight and bias."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from secateur.pipeline.recover.report import Repair
from secateur.pipeline.statistics.moments import Moments


@dataclass(frozen=True)
class Folded:
    """A layer that reads fewer features: weight `[out, kept]`, what its bias gains `[out]`, in float64."""

    weight: Tensor
    shift: Tensor

    def of(self, rows: Tensor) -> Folded:
        """The layer with these outputs only, a mask `[out]`."""
        rows = rows.to(self.weight.device)
        return Folded(self.weight[rows], self.shift[rows])


def fold(weight: Tensor, encoder: Tensor, moments: Moments, ridge: float) -> Folded:
    """The layer that computes W x from z = E x as well as ridge regression can.

    With the covariance C and mean m of x: D = C E^T (E C E^T + ridge mean(diag(E C E^T)) I)^-1, W' = W D and
    b' = b + W (m - D E m). `weight` is W `[out, d]`, `encoder` E `[kept, d]`; rows of the identity select features.
    Only what E loses is penalised: features that are kept themselves are read with their own weight and more. Where
    E C E^T is singular, the ridge keeps the solution unique; with ridge 0 the pseudo-inverse is taken.
    """
    mean, covariance = moments.mean, moments.covariance
    index = _selected(encoder)
    if index is not None:
        base, across, within = weight[:, index], covariance[:, index], covariance[index][:, index]
        across[index] = 0  # the features that are kept give themselves
    else:
        back = torch.linalg.pinv(encoder)
        base, within = weight @ back, encoder @ covariance @ encoder.T
        across = covariance @ encoder.T - back @ within  # what the features alone do not give
    if not len(encoder):
        return Folded(base, weight @ mean)
    lost = weight @ across
    if ridge > 0:
        strength = ridge * within.diagonal().mean().clamp_min(1e-30)
        extra = torch.linalg.solve(within + strength * torch.eye(len(within)).to(within), lost.T).T
    else:
        extra = lost @ torch.linalg.pinv(within, hermitian=True)
    folded = base + extra
    return Folded(folded, weight @ mean - folded @ (encoder @ mean))


def unrepaired(weight: Tensor, encoder: Tensor) -> Folded:
    """The layer as surgery left it: the weights of the kept features, the bias as it was."""
    return Folded(weight @ encoder.T, weight.new_zeros(len(weight)))


def error_of(weight: Tensor, encoder: Tensor, folded: Folded, moments: Moments) -> float:
    """E |W x - (W' E x + b')|^2 over the rows that `moments` were gathered from."""
    gap = weight - folded.weight @ encoder
    mean = gap @ moments.mean - folded.shift
    return float(((gap @ moments.covariance) * gap).sum() + mean.square().sum())


def cross_validated(
    fit: Callable[[Moments], Folded], weight: Tensor, encoder: Tensor, folds: Sequence[Moments]
) -> float:
    """The mean error on each fold of what `fit` makes of the other ones."""
    errors = []
    for place, held_out in enumerate(folds):
        rest = [found for other, found in enumerate(folds) if other != place]
        errors.append(error_of(weight, encoder, fit(summed(rest)), held_out))
    return sum(errors) / len(errors)


@dataclass(frozen=True)
class Choice:
    """What suits the matrices of a layer best: the way, the ridge (None: as surgery left them), and what they become.

    `folded` has the matrices one below the other, `encoders` one for each; errors are those on rows held out.
    """

    way: str
    ridge: float | None
    before: float
    after: float
    folded: Folded
    encoders: Sequence[Tensor]

    def repair(self, layer: str) -> Repair:
        """The choice as reports have it."""
        return Repair(layer, self.way, self.ridge, self.before, self.after)


def choose(
    weights: Sequence[Tensor],
    encoders: Mapping[str, Sequence[Tensor]],
    folds: Sequence[Sequence[Moments]],
    ridges: Sequence[float],
) -> Choice:
    """The way of `encoders` and the ridge with the least error of all matrices together, by cross-validation.

    Each way has an encoder for each of `weights`, and each of these has its folds. The first way's encoders are those
    of surgery, which is left alone unless something beats it.
    """
    surgery = next(iter(encoders.values()))
    plain = [unrepaired(weight, encoder) for weight, encoder in zip(weights, surgery, strict=True)]
    before = sum(
        error_of(weight, encoder, folded, part) / len(parts)
        for weight, encoder, folded, parts in zip(weights, surgery, plain, folds, strict=True)
        for part in parts
    )
    best: tuple[float, str, float | None] = (before, "none", None)
    for way, chosen in encoders.items():
        matrices = list(zip(weights, chosen, folds, strict=True))
        for ridge in ridges:
            error = sum(cross_validated(partial(fold, w, e, ridge=ridge), w, e, parts) for w, e, parts in matrices)
            best = min(best, (error, way, ridge), key=lambda found: found[0])
    error, way, strength = best
    used = encoders.get(way, surgery)
    if strength is not None:
        plain = [
            fold(weight, encoder, summed(parts), strength)
            for weight, encoder, parts in zip(weights, used, folds, strict=True)
        ]
    folded = Folded(torch.cat([part.weight for part in plain]), torch.cat([part.shift for part in plain]))
    return Choice(way, strength, before, error, folded, used)


def summed(parts: Sequence[Moments]) -> Moments:
    """The moments of all rows of the parts."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _selected(encoder: Tensor) -> Tensor | None:
    """The features that the encoder selects, `[kept]`; None for one that mixes features."""
    index = encoder.argmax(1) if len(encoder) else torch.zeros(0, dtype=torch.long, device=encoder.device)
    chosen = torch.zeros_like(encoder).scatter(1, index[:, None], 1)
    return index if torch.equal(chosen, encoder) else None
