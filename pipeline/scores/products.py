"""Elimination of query/key dimensions: what of a head's logits the dimensions that stay cannot reproduce."""

from __future__ import annotations

import torch
from torch import Tensor

from secateur.pipeline.scores.elimination import TIE


def eliminate_products(queries: Tensor, keys: Tensor, shrinkage: float, rounds: int) -> Tensor:
    """For one head, the mean squared error of its logits that each dimension adds when it goes, `[dims]` float64.

    `queries` and `keys` `[dims, dims]` are second moments; a dimension's error is counted when its turn has come,
    after the dimensions that stay have been refitted (`product_errors`). The errors rise along the path.
    """
    dims = len(queries)
    queries, keys = (part + shrinkage * part.diagonal().mean() * torch.eye(dims).to(part) for part in (queries, keys))
    alive = torch.arange(dims, device=queries.device)
    scores = torch.zeros(dims, dtype=torch.float64)
    least = error = 0.0
    for number in range(min(rounds, dims), 0, -1):
        count = -(-len(alive) // number)
        if not count:
            break
        losses = product_errors(queries, keys, _without_one(alive)) - error
        order = losses.argsort(stable=True)[:count]
        going = alive[order]
        alive = alive[~torch.isin(alive, going)]
        before, error = error, float(product_errors(queries, keys, alive[None])[0])
        share = (error - before) / max(float(losses[order].sum()), 1e-300)
        for unit, loss in zip(going.tolist(), losses[order].tolist(), strict=True):
            least = max(loss * share, least * (1 + TIE))
            scores[unit] = least
    return scores


def product_errors(queries: Tensor, keys: Tensor, stay: Tensor) -> Tensor:
    """E (q k^T - q_S A k_S^T)^2 for the best A, for each set S of dimensions in the rows of `stay` `[sets, r]`.

    With Q = E q^T q, K = E k^T k and P = Q[S, :] K[:, S], the best A is Q_SS^-1 P K_SS^-1 (queries and keys of a pair
    taken as independent), and the error is tr(Q K) - tr(P^T A).
    """
    total = (queries * keys).sum()
    if not stay.shape[1]:
        return total.repeat(len(stay))
    q, k, p = (_part(moments, stay) for moments in (queries, keys, queries @ keys))
    best = torch.linalg.solve(k, torch.linalg.solve(q, p).mT).mT
    errors: Tensor = total - (p * best).sum((1, 2))
    return errors


def _part(moments: Tensor, stay: Tensor) -> Tensor:
    return moments[stay[:, :, None], stay[:, None, :]]


def _without_one(alive: Tensor) -> Tensor:
    """The rows `[n, n - 1]` that leave out each element in turn."""
    others = ~torch.eye(len(alive), dtype=torch.bool, device=alive.device)
    return alive.expand(len(alive), -1)[others].reshape(len(alive), -1)
