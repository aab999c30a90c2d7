"""The best mixtures of value and query/key dimensions for a head that keeps fewer of them than it had."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FLOOR = 1e-9  # of the largest eigenvalue; below it a direction is numerical noise


def value_encoder(weight: Tensor, covariance: Tensor, rank: int) -> Tensor:
    """E `[rank, dims]`: the head's values x are replaced by E x, from which W x is reconstructed with the least error.

    The right singular vectors of W C^(1/2) for the covariance C `[dims, dims]` and the columns W `[out, dims]` of the
    layer that reads the values: reduced-rank regression (Izenman, 1975). Rows have length 1.
    """
    root, inverse = roots(covariance)
    _, _, right = torch.linalg.svd(weight @ root, full_matrices=False)
    return nn.functional.normalize(right[:rank] @ inverse, dim=1)


def product_encoders(queries: Tensor, keys: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """A `[rank, dims]` and B `[rank, dims]` for which (A q) (B k)^T is nearest to q k^T over all pairs.

    `queries` and `keys` `[dims, dims]` are the second moments Q and K of a head, taken as independent. With the
    singular values U s V^T of Q^(1/2) K^(1/2), A = s^(1/2) U^T Q^(-1/2) and B = s^(1/2) V^T K^(-1/2).
    """
    (q, q_inverse), (k, k_inverse) = roots(queries), roots(keys)
    left, values, right = torch.linalg.svd(q @ k)
    scale = values[:rank].sqrt()[:, None]
    return scale * (left.T[:rank] @ q_inverse), scale * (right[:rank] @ k_inverse)


def product_error(queries: Tensor, keys: Tensor, a: Tensor, b: Tensor) -> float:
    """E (q k^T - (A q) (B k)^T)^2 for independent q and k of the given second moments."""
    gap = torch.eye(len(queries)).to(queries) - a.T @ b
    return float(((queries @ gap) * (gap @ keys)).sum())


def roots(moments: Tensor) -> tuple[Tensor, Tensor]:
    """The symmetric square root of a second moment, and its pseudo-inverse."""
    values, vectors = torch.linalg.eigh(moments)
    there = values > FLOOR * values[-1].clamp_min(1e-30)
    root = values.clamp_min(0).sqrt()
    inverse = torch.where(there, 1 / root.clamp_min(1e-150), torch.zeros_like(root))
    return (vectors * root) @ vectors.T, (vectors * inverse) @ vectors.T
