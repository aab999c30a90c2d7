"""Backward elimination: units go round by round, the survivors are refitted each time, and each unit's loss is kept."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from secateur.core.errors import PlanError

TIE = 1e-6  # a unit that goes later scores higher by this share at least, so that a ranking follows the path


def shrunk(moments: Tensor, shrinkage: float) -> Tensor:
    """The moments `[d, d]` with `shrinkage` times their mean diagonal added to the diagonal."""
    ridge = (shrinkage * moments.diagonal().mean()).clamp_min(1e-30)
    return moments + ridge * torch.eye(len(moments)).to(moments)


def cholesky(moments: Tensor) -> Tensor:
    """The lower Cholesky factor; raises `PlanError` for moments that are not positive definite."""
    found = torch.linalg.cholesky_ex(moments)
    if found.info:
        raise PlanError("the statistics have too low a rank: give the score a larger shrinkage, or more images")
    lower: Tensor = found.L
    return lower


class Regression:
    """A layer `y = W x` that loses columns: the inverse of their covariance, and what `W` becomes after each refit.

    `covariance` `[d, d]` is that of x, `columns` `[d]` the unit of each column (-1: stays for good), `metric`
    `[out, out]` weighs the error of y. To the diagonal of the covariance, `shrinkage` times its mean is added.
    """

    def __init__(self, covariance: Tensor, weight: Tensor, columns: Tensor, metric: Tensor, shrinkage: float) -> None:
        self.inverse = torch.cholesky_inverse(cholesky(shrunk(covariance, shrinkage)))
        self.weight = cholesky(metric).T @ weight
        self.columns = columns

    def losses(self, units: int) -> Tensor:
        """For each unit, `tr(W_u P_uu^-1 W_u^T)` with P the inverse covariance: the error after the refit, `[units]`.

        Optimal brain surgeon (Hassibi and Stork, 1993, eq. 5), for blocks of columns. Zero for units without columns.
        """
        counts = torch.bincount(self.columns[self.columns >= 0], minlength=units)
        most = int(counts.max())
        index = torch.zeros(units, most, dtype=torch.long, device=self.columns.device)
        there = torch.arange(most, device=index.device) < counts[:, None]
        order = self.columns.argsort(stable=True)
        index[there] = order[self.columns[order] >= 0]
        weight = self.weight[:, index].movedim(1, 0) * there[:, None]  # [units, out, most]
        if most == 1:
            alone: Tensor = weight.square().sum((1, 2)) / self.inverse.diagonal()[index[:, 0]]
            return alone
        blocks = self.inverse[index[:, :, None], index[:, None, :]] * (there[:, :, None] & there[:, None, :])
        blocks = blocks + torch.diag_embed((~there).to(blocks))
        together: Tensor = (torch.linalg.solve(blocks, weight.mT) * weight.mT).sum((1, 2))
        return together

    def remove(self, gone: Tensor) -> float:
        """Removes the units `gone`, refits the rest, and returns the error of it."""
        out = torch.isin(self.columns, gone)
        going, staying = out.nonzero().flatten(), (~out).nonzero().flatten()
        rows, lost = self.inverse.index_select(0, staying), self.weight.index_select(1, going)
        across, within = rows.index_select(1, going), self.inverse[going][:, going]
        solved = torch.linalg.solve(within, torch.cat([across.T, lost.T], dim=1))
        rest = len(staying)
        error = float((solved[:, rest:] * lost.T).sum())
        self.weight = torch.addmm(self.weight.index_select(1, staying), lost, solved[:, :rest], alpha=-1)
        self.inverse = torch.addmm(rows.index_select(1, staying), across, solved[:, :rest], alpha=-1)
        self.columns = self.columns[staying]
        return error


def eliminate(regressions: Sequence[Regression], units: int, blocks: int, rounds: int) -> Tensor:
    """The loss of each unit when its turn to go has come, `[units]` float64, rising along the path of elimination.

    All units go in `rounds` rounds, from every block (head) the same number; a unit that several layers read costs
    the sum of their errors. Since the losses rise along the path, a plan that drops the lowest scores follows it.
    """
    if rounds < 1:
        raise PlanError(f"rounds is {rounds}, but must be 1 or more (64 is the default)")
    width = units // blocks
    scores = torch.zeros(units, dtype=torch.float64)
    alive = torch.ones(blocks, width, dtype=torch.bool)
    least = 0.0
    for number in range(rounds, 0, -1):
        left = int(alive[0].sum())
        count = -(-left // number)
        if not count:
            break
        losses = sum((regression.losses(units).cpu() for regression in regressions), torch.zeros(units).double())
        order = losses.reshape(blocks, width).masked_fill(~alive, torch.inf).argsort(dim=1, stable=True)[:, :count]
        alive.scatter_(1, order, False)
        gone = (order + torch.arange(blocks)[:, None] * width).flatten()
        gone = gone[losses[gone].argsort(stable=True)]
        total = sum(regression.remove(gone.to(regression.columns.device)) for regression in regressions)
        share = total / max(float(losses[gone].sum()), 1e-300)  # units that replace each other cost more together
        for unit in gone.tolist():
            least = max(float(losses[unit]) * share, least * (1 + TIE))
            scores[unit] = least
    return scores
