"""Closed-form repair: what is left of each layer takes over what the removed units contributed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from secateur.core.modules import copied
from secateur.pipeline.data.loader import Batches, any_batches
from secateur.pipeline.recover.batch_norm import adapt_statistics, reestimate
from secateur.pipeline.recover.front_to_back import refit_branches, refit_front_to_back
from secateur.pipeline.recover.low_rank_heads import Packed, repair_products, value_mixtures, write_values
from secateur.pipeline.recover.narrowed import Narrowed, NarrowedHeads, NarrowedLayer, narrowed_by
from secateur.pipeline.recover.norm_statistics import norm_statistics
from secateur.pipeline.recover.ridge import Fit, Pairs, Repair, Task, choose, left_by
from secateur.pipeline.recover.spec import Compensation
from secateur.pipeline.statistics.layer_matrices import matrix
from secateur.pipeline.statistics.moments import Moments, Probe, gather_moments
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
    options: Compensation | None = None,
    groups: Groups | None = None,
) -> nn.Module:
    """A repaired copy of `small`; see `repair`.

    >>> repaired = sc.compensate(small, model, plan, loader)
    >>> repaired(example).shape == model(example).shape
    True
    """
    return repair(small, dense, plan, loader, options, groups)[0]


def repair(
    small: nn.Module,
    dense: nn.Module,
    plan: Plan,
    loader: Batches,
    options: Compensation | None = None,
    groups: Groups | None = None,
    statistics: Statistics | None = None,
) -> tuple[nn.Module, tuple[Repair, ...]]:
    """A copy of `small` whose layers make up for the removed units in weight and bias, and what was done to each.

    Layers that read fewer features (`fc2`, `proj`, convolutions) are refitted by ridge regression on the dense
    model's inputs (`ridge`); those behind a normalisation over fewer features, as the readers of a narrower
    residual stream are, on what it makes of them (`norm_statistics`). Heads with fewer values keep the best mixtures
    of them instead of single ones, heads with fewer query/key dimensions the best low-rank form of their logits
    (`low_rank_heads`). The images of `loader` are split in two: each half judges what the other one gives. The ridge is
    chosen so for each layer unless the `options` give it; where nothing is better than surgery alone, the layer stays
    as it was. Then, unless `options.front_to_back` is off, layers are refitted on what the pruned model feeds them
    (`front_to_back`), and the statistics of batch normalisations are moved by what has changed before them
    (`reestimate`), or replaced by those of the images with `options.adapt_statistics`. Where several plans are
    repaired, `statistics` (of `gather_statistics`) saves each of them a pass.
    Raises `DataError` for fewer than two images.
    """
    options = options or Compensation()
    dense, loader = canonical(dense), any_batches(loader, classes=False, unlabelled=True)
    groups = groups or find_groups(dense, example_for(dense, plan.inputs))
    narrowed = narrowed_by(dense, groups, plan)
    repaired = copied(small)
    if not narrowed.layers and not narrowed.heads:
        if options.adapt_statistics:
            adapt_statistics(repaired, loader)
        return repaired, ()
    ridges = RIDGES if options.ridge is None else (options.ridge,)
    blocks = _Blocks(repaired, dense, narrowed, ridges, statistics)
    followed: Sequence[Repair] = ()
    if options.front_to_back and blocks.hold_everything():
        followed = refit_branches(repaired, dense, narrowed.layers, loader, blocks)
    repairs = blocks.repairs
    if not followed:
        moments = gather_moments(dense, narrowed.probes(dense), loader, FOLDS) if statistics is None else statistics
        behind_norms = norm_statistics(repaired, dense, narrowed, loader, FOLDS)
        repairs = refit(repaired, dense, narrowed, {**moments, **behind_norms}, ridges)
        if options.front_to_back:
            followed = refit_front_to_back(repaired, dense, narrowed, loader)
    if options.adapt_statistics:
        adapt_statistics(repaired, loader)
    else:
        reestimate(repaired, dense, narrowed.statistics, loader)
    return repaired, (*repairs, *followed)


class _Blocks:
    """The layers of a chain of blocks, refitted block by block from the dense model's statistics (`FirstRefit`)."""

    def __init__(
        self,
        small: nn.Module,
        dense: nn.Module,
        narrowed: Narrowed,
        ridges: Sequence[float],
        statistics: Statistics | None,
    ) -> None:
        self.repairs: list[Repair] = []
        self._models = small, dense
        self._narrowed = narrowed
        self._ridges = ridges
        self._statistics = statistics

    def hold_everything(self) -> bool:
        """Whether all that is to be refitted lies in blocks, and can be from statistics of the dense model alone."""
        layers = self._narrowed.layers
        inside = all(name.startswith("blocks.") for name in (*layers, *self._narrowed.heads))
        return inside and not any(layer.renormalised for layer in layers.values())

    def probes(self, block: str) -> Mapping[str, Probe]:
        """Where the statistics of one block are read; nowhere if they were given."""
        return {} if self._statistics is not None else self._in(block).probes(self._models[1])

    def refit(self, block: str, moments: Statistics) -> None:
        """Refits the layers of one block."""
        found = moments if self._statistics is None else self._statistics
        self.repairs += refit(*self._models, self._in(block), found, self._ridges)

    def _in(self, block: str) -> Narrowed:
        inside = f"{block}."
        layers = {name: part for name, part in self._narrowed.layers.items() if name.startswith(inside)}
        heads = {name: part for name, part in self._narrowed.heads.items() if name.startswith(inside)}
        return Narrowed(layers, heads)


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
    every = narrowed_by(dense, groups, Plan(less, groups.fingerprint(), groups.inputs))
    return gather_moments(dense, every.probes(dense), any_batches(loader, classes=False, unlabelled=True), FOLDS)


@torch.no_grad()
def refit(
    small: nn.Module, dense: nn.Module, narrowed: Narrowed, moments: Statistics, ridges: Sequence[float]
) -> list[Repair]:
    """Refits every narrowed layer in place from `moments`, folds by the keys of matrices; says what was done."""
    repairs = []
    packed = {name: Packed.of(dense.get_submodule(f"{name}.qkv")) for name in narrowed.heads}
    for parent in narrowed.heads:
        name = f"{parent}.qkv"
        if (layer := narrowed.layers.get(name)) is not None:  # all rows, for the mixtures that are made of them
            every = replace(layer, rows=torch.ones_like(layer.rows))
            there = _Matrices(dense.get_submodule(name), every, name, moments).as_left()
            choice = choose(there, {"refit": there}, ridges)
            packed[parent] = packed[parent].after(choice.fit)
            repairs.append(choice.repair(name))
            if choice.ridge is not None:
                _write(small.get_submodule(name), choice.fit.of(layer.rows))
    for name, heads in narrowed.heads.items():
        if heads.mixes_products():
            q, k = moments[f"{name}.q"], moments[f"{name}.k"]
            repairs.append(repair_products(small, packed[name], heads, q, k))
    for name, layer in narrowed.layers.items():
        parent, _, last = name.rpartition(".")
        if last == "qkv" and parent in packed:
            continue
        matrices = _Matrices(dense.get_submodule(name), layer, name, moments)
        there = matrices.as_left()
        ways, mixed = {"refit": there}, narrowed.heads.get(parent)
        if mixed is not None and mixed.mixes_values():
            encoder = matrices.mixtures(mixed)
            ways["mixtures"] = matrices.read_from([encoder])
        choice = choose(there, ways, ridges)
        if choice.ridge is not None:
            _write(small.get_submodule(name), choice.fit)
        if choice.way == "mixtures" and mixed is not None:
            write_values(small, packed[parent], mixed, encoder)
        repairs.append(choice.repair(name))
    return repairs


class _Matrices:
    """The matrices of a narrowed layer, `[out, columns]` each, with the folds of what the dense one reads."""

    def __init__(self, layer: nn.Module, narrowed: NarrowedLayer, name: str, moments: Statistics) -> None:
        self.folds = [moments[key] for key in narrowed.keys(name)]
        device = self.folds[0][0].total.device
        stays, rows = narrowed.stays.to(device), narrowed.rows.to(device).chunk(narrowed.parts)
        whole = matrix(layer).to(device).chunk(narrowed.parts)
        self.weights = [part[mask] for part, mask in zip(whole, rows, strict=True)]
        self.select = torch.eye(len(stays), dtype=torch.float64, device=device)[stays]
        if narrowed.renormalised:  # W x = W (x - B z) + (W B) z, see `norm_statistics`
            self.weights = [torch.cat([weight, weight @ self.select.T], dim=1) for weight in self.weights]
            self.select = torch.cat([torch.zeros_like(self.select), torch.eye(len(self.select)).to(self.select)], dim=1)

    def as_left(self) -> list[Task]:
        """What surgery left of the matrices, to be fitted to the features that they still read."""
        return self.read_from([self.select] * len(self.weights))

    def mixtures(self, heads: NarrowedHeads) -> Tensor:
        """The best mixtures of the values of all heads, for the one matrix that reads them."""
        total = self.folds[0][0]
        for moments in self.folds[0][1:]:
            total = total + moments
        return value_mixtures(self.weights[0], total, heads)

    def read_from(self, encoders: Sequence[Tensor]) -> list[Task]:
        """The matrices, each reading its inputs through an encoder `[kept, columns]`."""
        return [
            (left_by(weight, encoder), [Pairs.of_layer(moments, weight, encoder) for moments in folds])
            for weight, encoder, folds in zip(self.weights, encoders, self.folds, strict=True)
        ]


def _write(layer: nn.Module, fit: Fit) -> None:
    """Puts a fit into a layer; its bias is what the layer's own gains, and is left out where the layer has none."""
    weight = getattr(layer, "weight", None)  # a layer that lost all of its inputs is a bias alone
    if isinstance(weight, Tensor):
        weight.copy_(fit.weight.reshape(weight.shape))
    if isinstance(layer.bias, Tensor) and fit.bias is not None:
        layer.bias.add_(fit.bias.to(layer.bias))
