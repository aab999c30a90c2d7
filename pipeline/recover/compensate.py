"""Closed-form repair: what is left of each layer takes over what the removed units contributed."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from secateur.core.errors import PlanError
from secateur.pipeline.data.loader import Batches, any_batches
from secateur.pipeline.recover.batch_norm import reestimate
from secateur.pipeline.recover.follow import follow
from secateur.pipeline.recover.follow_layers import follow_layers
from secateur.pipeline.recover.heads import Packed, repair_products, value_mixtures, write_values
from secateur.pipeline.recover.layers import Cut, Heads, Less, find_cut
from secateur.pipeline.recover.norm_statistics import gather_renormed
from secateur.pipeline.recover.report import Repair
from secateur.pipeline.recover.ridge import Choice, choose, summed
from secateur.pipeline.statistics.layer_matrices import matrix
from secateur.pipeline.statistics.moments import Moments, gather_moments
from secateur.pipeline.structure.canonical import canonical
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.structure.surgery import example_for

RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""The strengths that are tried, as shares of the survivors' mean variance."""
FOLDS = 2
Statistics = Mapping[str, Sequence[Moments]]
"""The folds of what the dense model's layers read, by the keys of their matrices."""


def compensate(
    small: nn.Module,
    dense: nn.Module,
    plan: Plan,
    loader: Batches,
    ridge: float | None = None,
    groups: Groups | None = None,
    front_to_back: bool = True,
) -> nn.Module:
    """A repaired copy of `small`; see `repair`.

    >>> repaired = sc.compensate(small, model, plan, loader)
    >>> repaired(example).shape == model(example).shape
    True
    """
    return repair(small, dense, plan, loader, ridge, groups, front_to_back)[0]


def repair(
    small: nn.Module,
    dense: nn.Module,
    plan: Plan,
    loader: Batches,
    ridge: float | None = None,
    groups: Groups | None = None,
    front_to_back: bool = True,
    statistics: Statistics | None = None,
) -> tuple[nn.Module, tuple[Repair, ...]]:
    """A copy of `small` whose layers make up for the removed units in weight and bias, and what was done to each.

    Layers that read fewer features (`fc2`, `proj`, convolutions) are refitted by ridge regression on the dense
    model's inputs (`fold.fold`); those behind a normalisation over fewer features, as the readers of a narrower
    residual stream are, on what it makes of them (`renormed`). Heads with fewer values keep the best mixtures of them
    instead of single ones, heads with fewer query/key dimensions the best low-rank form of their logits (`low_rank`).
    The images of `loader` are split in two: each half judges what the other one gives. The ridge is chosen so for
    each layer unless it is given; where nothing is better than surgery alone, the layer stays as it was. Then, unless
    `front_to_back` is off, the layers of transformer blocks (`follow.follow`) or the convolutions (`follow_layers`)
    are refitted on what the pruned model feeds them, and batch normalisations behind repaired convolutions are
    estimated anew. Where several plans are repaired, `statistics` (of `gather_statistics`) saves each of them a pass.
    Raises `PlanError` for a negative ridge and `DataError` for fewer than two images.
    """
    if ridge is not None and not ridge >= 0:
        raise PlanError(f"ridge is {ridge}, but must be 0 or more (leave it out to have it chosen for each layer)")
    dense, loader = canonical(dense), any_batches(loader)
    groups = groups or find_groups(dense, example_for(dense, plan.input_shape))
    cut = find_cut(dense, groups, plan)
    repaired = copy.deepcopy(small)
    if not cut.layers and not cut.heads:
        return repaired, ()
    moments = gather_moments(dense, cut.probes(dense), loader, FOLDS) if statistics is None else statistics
    renormed = gather_renormed(repaired, dense, cut, loader, FOLDS)
    repairs = refit(repaired, dense, cut, {**moments, **renormed}, RIDGES if ridge is None else (ridge,))
    if front_to_back:
        repairs += follow(repaired, dense, cut.layers, loader) or follow_layers(repaired, dense, cut.layers, loader)
    if any(isinstance(dense.get_submodule(name), nn.Conv2d) for name in cut.layers):
        reestimate(repaired, loader)
    return repaired, tuple(repairs)


def gather_statistics(dense: nn.Module, groups: Groups, kinds: Sequence[str], loader: Batches) -> Statistics:
    """The statistics for the repair of every plan that takes units of `kinds`, from one pass over the images.

    Layers behind a normalisation over fewer features (a narrower residual stream) need the images for each plan.
    """
    dense = canonical(dense)
    less = {  # every group loses a unit of each block, so that every layer that can read less does
        group.name: tuple(np.arange(group.units).reshape(group.blocks, -1)[:, 1:].ravel().tolist())
        for group in groups
        if group.kind in kinds
    }
    every = find_cut(dense, groups, Plan(less, groups.fingerprint(), groups.input_shape))
    return gather_moments(dense, every.probes(dense), loader, FOLDS)


@torch.no_grad()
def refit(small: nn.Module, dense: nn.Module, cut: Cut, moments: Statistics, ridges: Sequence[float]) -> list[Repair]:
    """Refits every layer of `cut` in place from `moments`, folds by the keys of matrices; says what was done."""
    repairs = []
    packed = {name: Packed.of(dense.get_submodule(f"{name}.qkv")) for name in cut.heads}
    for name in cut.heads:
        if (less := cut.layers.get(f"{name}.qkv")) is not None:  # all rows, for the mixtures that are made of them
            every = replace(less, rows=torch.ones_like(less.rows))
            choice = _choose(dense.get_submodule(f"{name}.qkv"), every, None, moments, f"{name}.qkv", ridges)
            _write(small.get_submodule(f"{name}.qkv"), choice, less.rows)
            packed[name] = packed[name].after(choice.folded)
            repairs.append(choice.repair(f"{name}.qkv"))
    for name, heads in cut.heads.items():
        if heads.mixes_products():
            q, k = moments[f"{name}.q"], moments[f"{name}.k"]
            repairs.append(repair_products(small, packed[name], heads, q, k))
    for name, less in cut.layers.items():
        parent, _, last = name.rpartition(".")
        if last == "qkv" and parent in packed:
            continue
        heads_here = cut.heads.get(parent)
        choice = _choose(dense.get_submodule(name), less, heads_here, moments, name, ridges)
        _write(small.get_submodule(name), choice)
        if choice.way == "mixtures" and heads_here is not None:
            write_values(small, packed[parent], heads_here, choice.encoders[0])
        repairs.append(choice.repair(name))
    return repairs


def _choose(
    layer: nn.Module,
    less: Less,
    heads: Heads | None,
    moments: Statistics,
    name: str,
    ridges: Sequence[float],
) -> Choice:
    """The way and the ridge that do best for one layer on images held out, and what comes of them."""
    folds = [moments[key] for key in less.keys(name)]
    device = folds[0][0].total.device
    stays, rows = less.stays.to(device), less.rows.to(device).chunk(less.parts)
    weights = [part[mask] for part, mask in zip(matrix(layer).to(device).chunk(less.parts), rows, strict=True)]
    select = torch.eye(len(stays), dtype=torch.float64, device=device)[stays]
    if less.renormed:  # W x = W (x - B z) + (W B) z, see `gather_renormed`
        weights = [torch.cat([weight, weight @ select.T], dim=1) for weight in weights]
        select = torch.cat([torch.zeros_like(select), torch.eye(len(select)).to(select)], dim=1)
    encoders = {"refit": [select] * less.parts}
    if heads is not None and heads.mixes_values():
        encoders["mixtures"] = [value_mixtures(weights[0], summed(folds[0]), heads)]
    return choose(weights, encoders, folds, ridges)


def _write(layer: nn.Module, choice: Choice, rows: Tensor | None = None) -> None:
    """Puts what was chosen into a layer; one without a bias is repaired without the constant part.

    Of the outputs that were fitted, `rows` are those that the layer has.
    """
    if choice.ridge is None:
        return
    folded = choice.folded if rows is None else choice.folded.of(rows)
    weight = getattr(layer, "weight", None)  # a layer that lost all of its inputs is a bias alone
    if isinstance(weight, Tensor):
        weight.copy_(folded.weight.reshape(weight.shape))
    if isinstance(layer.bias, Tensor):
        layer.bias.add_(folded.shift.to(layer.bias))
