"""Elimination of query/key dimensions: what of a head's logits the dimensions that stay cannot reproduce."""

from __future__ import annotations

import torch
from torch import Tensor

from secateur.pipeline.scores.backward_elimination import TIE, cholesky, shrunk


def eliminate_products(queries: Tensor, keys: Tensor, shrinkage: float, rounds: int) -> Tensor:
    """For one head, the mean squared error of its logits that each dimension adds when it goes, `[dims]` float64.

    `queries` and `keys` `[dims, dims]` are second moments; a dimension's error is counted when its turn has come,
    after the dimensions that stay have been refitted (`product_error`). The errors rise along the path.
    """
    dims = len(queries)
    queries, keys = (shrunk(part, shrinkage) for part in (queries, keys))
    alive = torch.arange(dims, device=queries.device)
    scores = torch.zeros(dims, dtype=torch.float64)
    least = error = 0.0
    for number in range(min(rounds, dims), 0, -1):
        count = -(-len(alive) // number)
        if not count:
            break
        losses = errors_without_each(queries, keys, alive) - error
        order = losses.argsort(stable=True)[:count]
        going = alive[order]
        alive = alive[~torch.isin(alive, going)]
        before, error = error, product_error(queries, keys, alive)
        share = (error - before) / max(float(losses[order].sum()), 1e-300)
        for unit, loss in zip(going.tolist(), losses[order].tolist(), strict=True):
            least = max(loss * share, least * (1 + TIE))
            scores[unit] = least
    return scores


def product_error(queries: Tensor, keys: Tensor, stay: Tensor) -> float:
    """E (q k^T - q_S A k_S^T)^2 for the best A, for the set S of dimensions `stay` `[r]`.

    With Q = E q^T q, K = E k^T k and P = Q[S, :] K[:, S], the best A is Q_SS^-1 P K_SS^-1 (queries and keys of a pair
    taken as independent), and the error is tr(Q K) - tr(P^T A).
    """
    p, q, k = _parts(queries, keys, stay)
    return float((queries * keys).sum() - (p * (q @ p @ k)).sum())


def errors_without_each(queries: Tensor, keys: Tensor, stay: Tensor) -> Tensor:
    """`product_error` of S without each of its dimensions in turn, `[r]`.

    Without dimension d, the inverse is Q' = Q_SS^-1 - a a^T / a_d with a its column d (likewise K' with b), so that
    tr(P^T Q' P K') is the whole one, less a^T P K_SS^-1 P^T a / a_d, less b^T P^T Q_SS^-1 P b / b_d, and plus
    (a^T P b)^2 / (a_d b_d).
    """
    p, q, k = _parts(queries, keys, stay)
    a, b = q.diagonal(), k.diagonal()
    middle = q @ p @ k
    lost: Tensor = (middle @ p.T @ q).diagonal() / a + (k @ p.T @ middle).diagonal() / b
    return (queries * keys).sum() - (p * middle).sum() + lost - middle.diagonal().square() / (a * b)


def _parts(queries: Tensor, keys: Tensor, stay: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """P, Q_SS^-1 and K_SS^-1."""
    p = queries[stay] @ keys[:, stay]
    q, k = (torch.cholesky_inverse(cholesky(part[stay][:, stay])) for part in (queries, keys))
    return p, q, k
