"""Heads that keep fewer dimensions than they had: the best mixtures of the dense one's values, queries and keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from secateur.kernels.ragged_attention import RaggedAttention
from secateur.pipeline.recover.narrowed import NarrowedHeads
from secateur.pipeline.recover.ridge import Fit, Repair
from secateur.pipeline.statistics.layer_matrices import matrix
from secateur.pipeline.statistics.moments import Moments

FLOOR = 1e-9  # of the largest eigenvalue; below it a direction is numerical noise


@dataclass(frozen=True)
class Packed:
    """The dense attention's projection to queries, keys and values, as the pruned one can compute it.

    `weight` is `[3 width, columns that stay]` and `bias` `[3 width]` (zeros for none), in float64.
    """

    weight: Tensor
    bias: Tensor

    @staticmethod
    def of(qkv: nn.Module) -> Packed:
        """The projection itself."""
        weight = matrix(qkv)
        return Packed(weight, qkv.bias.double() if isinstance(qkv.bias, Tensor) else weight.new_zeros(len(weight)))

    def after(self, fit: Fit) -> Packed:
        """The projection from fewer columns, its bias having gained that of the fit."""
        return Packed(fit.weight.to(self.weight), self.bias if fit.bias is None else self.bias + fit.bias.to(self.bias))


def value_mixtures(weight: Tensor, moments: Moments, heads: NarrowedHeads) -> Tensor:
    """The encoder `[kept, width]` of all heads that are left, head by head."""
    dims = heads.v.shape[1]
    covariance = moments.covariance
    rows = []
    for head in heads.alive:
        place = slice(head * dims, (head + 1) * dims)
        encoder = value_encoder(weight[:, place], covariance[place, place], int(heads.v[head].sum()))
        rows.append(weight.new_zeros(len(encoder), weight.shape[1]))
        rows[-1][:, place] = encoder
    return torch.cat(rows)


def write_values(small: nn.Module, packed: Packed, heads: NarrowedHeads, encoder: Tensor) -> None:
    """Makes the attention's values the mixtures `encoder` of the dense ones."""
    attention = small.get_submodule(heads.name)
    assert isinstance(attention, RaggedAttention)  # for the type checker: surgery made it
    width = heads.v.numel()
    start = 2 * sum(attention.qk_dims)
    attention.qkv.weight[start:] = (encoder @ packed.weight[2 * width :]).to(attention.qkv.weight)
    if attention.qkv.bias is not None:
        attention.qkv.bias[start:] = (encoder @ packed.bias[2 * width :]).to(attention.qkv.bias)


def repair_products(
    small: nn.Module, packed: Packed, heads: NarrowedHeads, queries: Sequence[Moments], keys: Sequence[Moments]
) -> Repair:
    """Gives the heads of one attention the best low-rank form of their logits, unless held-out images say otherwise."""
    attention = small.get_submodule(heads.name)
    assert isinstance(attention, RaggedAttention)  # for the type checker: surgery made it
    dims, folds = heads.qk.shape[1], len(queries)
    before = after = 0.0
    rows: dict[int, list[Tensor]] = {0: [], 1: []}
    for head in heads.alive:
        place = slice(head * dims, (head + 1) * dims)
        rank = int(heads.qk[head].sum())
        q, k = ([part.second[place, place] for part in parts] for parts in (queries, keys))
        plain = torch.eye(dims).to(q[0])[heads.qk[head].to(q[0].device)]
        surgery = sum(product_error(a, b, plain, plain) for a, b in zip(q, k, strict=True)) / folds
        fitted = [product_encoders(a, b, rank) for a, b in zip(q, k, strict=True)]
        turned = zip(q, k, reversed(fitted), strict=True)
        refit = sum(product_error(a, b, *encoders) for a, b, encoders in turned) / folds
        both = (
            product_encoders(torch.stack(q).mean(0), torch.stack(k).mean(0), rank)
            if refit < surgery
            else (plain, plain)
        )
        before, after = before + surgery, after + min(refit, surgery)
        for number, encoder in enumerate(both):
            start = number * heads.qk.numel() + place.start
            made, constant = (encoder @ part[start : start + dims] for part in (packed.weight, packed.bias))
            rows[number].append(torch.cat([made, constant[:, None]], dim=1))
    both_rows = torch.cat(rows[0] + rows[1])
    attention.qkv.weight[: len(both_rows)] = both_rows[:, :-1].to(attention.qkv.weight)
    if attention.qkv.bias is not None:
        attention.qkv.bias[: len(both_rows)] = both_rows[:, -1].to(attention.qkv.bias)
    return Repair(f"{heads.name}.qkv", "products" if after < before else "none", None, before, after)


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
