"""Closed-form repair: what is left of each layer takes over what the removed units contributed."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from secateur.pipeline.errors import PlanError
from secateur.pipeline.plan.plan import Plan
from secateur.pipeline.recover.batch_norm import reestimate
from secateur.pipeline.recover.fold import Folded, cross_validated, error_of, fold, summed, unrepaired
from secateur.pipeline.recover.follow import follow
from secateur.pipeline.recover.layers import Cut, Heads, find_cut
from secateur.pipeline.recover.low_rank import product_encoders, product_error, value_encoder
from secateur.pipeline.recover.readers import matrix
from secateur.pipeline.recover.report import Repair
from secateur.pipeline.recover.statistics import Moments, gather_moments
from secateur.pipeline.structure.attention import RaggedAttention
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.surgery import example_for

RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""The strengths that are tried, as shares of the survivors' mean variance."""
FOLDS = 2
Batches = Iterable[tuple[Tensor, Tensor]]


def compensate(
    small: nn.Module,
    dense: nn.Module,
    plan: Plan,
    loader: Batches,
    ridge: float | None = None,
    groups: Groups | None = None,
    front_to_back: bool = True,
) -> nn.Module:
    """A repaired copy of `small`; see `repair`."""
    return repair(small, dense, plan, loader, ridge, groups, front_to_back)[0]


def repair(
    small: nn.Module,
    dense: nn.Module,
    plan: Plan,
    loader: Batches,
    ridge: float | None = None,
    groups: Groups | None = None,
    front_to_back: bool = True,
) -> tuple[nn.Module, tuple[Repair, ...]]:
    """A copy of `small` whose layers make up for the removed units in weight and bias, and what was done to each.

    Layers that read fewer features (`fc2`, `proj`, convolutions) are refitted by ridge regression on the dense
    model's inputs (`fold.fold`). Heads with fewer values keep the best mixtures of them instead of single ones, heads
    with fewer query/key dimensions the best low-rank form of their logits (`low_rank`). Everything comes from one
    pass of `dense` over `loader`, whose images are split in two: each half judges what the other one gives. The
    ridge is chosen so for each layer unless it is given; where nothing is better than surgery alone, the layer stays
    as it was. Then, unless `front_to_back` is off, the layers of transformer blocks are refitted on what the pruned
    model feeds them (`follow.follow`), and batch normalisations behind repaired convolutions are estimated anew.
    Raises `PlanError` for a negative ridge and `DataError` for fewer than two images.
    """
    if ridge is not None and not ridge >= 0:
        raise PlanError(f"ridge is {ridge}, but must be 0 or more (leave it out to have it chosen for each layer)")
    groups = groups or find_groups(dense, example_for(dense, plan.input_shape))
    cut = find_cut(dense, groups, plan)
    repaired = copy.deepcopy(small)
    if not cut.layers and not cut.heads:
        return repaired, ()
    moments = gather_moments(dense, cut.probes(dense), loader, FOLDS)
    repairs = refit(repaired, dense, cut, moments, RIDGES if ridge is None else (ridge,))
    if front_to_back:
        repairs += follow(repaired, dense, cut.layers, loader)
    if any(isinstance(dense.get_submodule(name), nn.Conv2d) for name in cut.layers):
        reestimate(repaired, loader)
    return repaired, tuple(repairs)


@torch.no_grad()
def refit(
    small: nn.Module, dense: nn.Module, cut: Cut, moments: Mapping[str, Sequence[Moments]], ridges: Sequence[float]
) -> list[Repair]:
    """Refits every layer of `cut` in place from the dense model's `moments`, folds by probe; says what was done."""
    repairs = []
    for heads in cut.heads.values():
        if heads.mixes_products():
            q, k = moments[f"{heads.name}.q"], moments[f"{heads.name}.k"]
            repairs.append(_repair_products(small, dense, heads, q, k))
    for name, stays in cut.layers.items():
        heads_here = cut.heads.get(name.rpartition(".")[0])
        repairs.append(_repair_layer(small, dense, name, stays, heads_here, moments[name], ridges))
    return repairs


def _repair_layer(
    small: nn.Module,
    dense: nn.Module,
    name: str,
    stays: Tensor,
    heads: Heads | None,
    folds: Sequence[Moments],
    ridges: Sequence[float],
) -> Repair:
    """Refits one layer of `small` in place, by the way and the ridge that do best on images held out."""
    layer, device = dense.get_submodule(name), folds[0].total.device
    weight = matrix(layer).to(device)
    select = torch.eye(weight.shape[1], dtype=torch.float64, device=device)[stays.to(device)]
    whole = summed(folds)
    encoders = {"refit": select}
    if heads is not None and heads.mixes_values():
        encoders["mixtures"] = _value_mixtures(weight, whole, heads)
    before = sum(error_of(weight, select, unrepaired(weight, select), part) for part in folds) / len(folds)
    best: tuple[float, str, float | None] = (before, "none", None)
    for way, encoder in encoders.items():
        for ridge in ridges:
            error = cross_validated(partial(fold, weight, encoder, ridge=ridge), weight, encoder, folds)
            best = min(best, (error, way, ridge), key=lambda found: found[0])
    error, way, chosen = best
    if chosen is not None:
        _write(small.get_submodule(name), fold(weight, encoders[way], whole, chosen))
        if way == "mixtures":
            assert heads is not None  # for the type checker: mixtures are of heads
            _write_values(small, dense, heads, encoders[way])
    return Repair(name, way, chosen, before, error)


def _write(layer: nn.Module, folded: Folded) -> None:
    """Puts the new weight and bias into a layer; a layer without a bias is repaired without the constant part."""
    weight = getattr(layer, "weight", None)
    if isinstance(weight, Tensor):
        weight.copy_(folded.weight.reshape(weight.shape))
    if isinstance(layer.bias, Tensor):
        layer.bias.add_(folded.shift.to(layer.bias))


def _value_mixtures(weight: Tensor, moments: Moments, heads: Heads) -> Tensor:
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


def _write_values(small: nn.Module, dense: nn.Module, heads: Heads, encoder: Tensor) -> None:
    """Makes the attention's values the mixtures `encoder` of the dense ones."""
    attention, qkv = small.get_submodule(heads.name), dense.get_submodule(f"{heads.name}.qkv")
    assert isinstance(attention, RaggedAttention)  # for the type checker: surgery made it
    assert isinstance(qkv, nn.Linear)
    width = heads.v.numel()
    start = 2 * sum(attention.qk_dims)
    attention.qkv.weight[start:] = (encoder @ matrix(qkv)[2 * width :]).to(attention.qkv.weight)
    if attention.qkv.bias is not None:
        attention.qkv.bias[start:] = (encoder @ qkv.bias[2 * width :].double()).to(attention.qkv.bias)


def _repair_products(
    small: nn.Module, dense: nn.Module, heads: Heads, queries: Sequence[Moments], keys: Sequence[Moments]
) -> Repair:
    """Gives the heads of one attention the best low-rank form of their logits, unless held-out images say otherwise."""
    attention, qkv = small.get_submodule(heads.name), dense.get_submodule(f"{heads.name}.qkv")
    assert isinstance(attention, RaggedAttention)  # for the type checker: surgery made it
    assert isinstance(qkv, nn.Linear)
    dims = heads.qk.shape[1]
    weight, bias = matrix(qkv), qkv.bias
    before = after = 0.0
    rows: dict[int, list[Tensor]] = {0: [], 1: []}
    for head in heads.alive:
        place = slice(head * dims, (head + 1) * dims)
        rank = int(heads.qk[head].sum())
        q, k = ([part.second[place, place] for part in parts] for parts in (queries, keys))
        plain = torch.eye(dims).to(q[0])[heads.qk[head].to(q[0].device)]
        surgery = sum(product_error(a, b, plain, plain) for a, b in zip(q, k, strict=True)) / FOLDS
        fitted = [product_encoders(a, b, rank) for a, b in zip(q, k, strict=True)]
        turned = zip(q, k, reversed(fitted), strict=True)
        refit = sum(product_error(a, b, *encoders) for a, b, encoders in turned) / FOLDS
        both = (
            product_encoders(torch.stack(q).mean(0), torch.stack(k).mean(0), rank)
            if refit < surgery
            else (plain, plain)
        )
        before, after = before + surgery, after + min(refit, surgery)
        for number, encoder in enumerate(both):
            start = number * heads.qk.numel() + place.start
            made = encoder @ weight[start : start + dims]
            constant = encoder @ bias[start : start + dims].double() if bias is not None else made.new_zeros(rank)
            rows[number].append(torch.cat([made, constant[:, None]], dim=1))
    packed = torch.cat(rows[0] + rows[1])
    attention.qkv.weight[: len(packed)] = packed[:, :-1].to(attention.qkv.weight)
    if attention.qkv.bias is not None:
        attention.qkv.bias[: len(packed)] = packed[:, -1].to(attention.qkv.bias)
    return Repair(f"{heads.name}.qkv", "products" if after < before else "none", None, before, after)
