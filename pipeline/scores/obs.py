"""Optimal brain surgeon for whole units: what is lost after the survivors have been refitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn

from secateur.core.errors import PlanError
from secateur.core.ranges import Range
from secateur.pipeline.data.loader import Batches
from secateur.pipeline.scores.backward_elimination import Regression, eliminate
from secateur.pipeline.scores.product_elimination import eliminate_products
from secateur.pipeline.scores.registry import Scored, TaskMethod, method
from secateur.pipeline.scores.token_weights import TOKEN_WEIGHTS
from secateur.pipeline.statistics.fisher import Curvature, Products, ProductSite, gather
from secateur.pipeline.statistics.layer_losses import layer_losses
from secateur.pipeline.statistics.layer_matrices import Reader, layer_of, matrix, readers_of
from secateur.pipeline.statistics.removal_costs import removal_costs
from secateur.pipeline.structure.groups import Group, Groups
from secateur.pipeline.tasks.task import Task

Metric = Literal["fisher", "trace", "none"]
DAMPING = 0.1  # share of the mean eigenvalue in the Fisher metric, whose small directions 1,000 images do not show


@method("obs")
@dataclass(frozen=True)
class Obs(TaskMethod):
    """The rise of a sample's loss when a unit's turn to go has come and the survivors have been refitted, `[units]`.

    Units go in `rounds` rounds, the cheapest first; after each, the layer that reads them is refitted (Hassibi and
    Stork, 1993). An error e of that layer's output costs e^T G e / 2 with G the Fisher information there (`metric`
    "fisher", "trace" for its mean diagonal, "none" for the identity), so that scores compare across layers: that is
    worth more than the choice within a layer. Query/key dimensions cost the squared change of the logits, refitted
    likewise. A head goes with all columns that read its values, and a channel of a residual stream costs the sum over
    all layers that read it. A unit that no layer reads as columns of a matrix cannot be made up for: it costs what
    fixing it at its mean does (`removal_costs`). Whole layers are few and far from a
    second-order loss: what they cost is measured (`layer_losses`).

    >>> scores = sc.score(model, groups, loader, sc.Obs(metric="trace"))
    """

    shrinkage: Annotated[float, Range(0)] = 1e-3
    """How many times their mean diagonal is added to the covariances."""
    rounds: Annotated[int, Range(1)] = 64
    """In how many rounds units go, after each of which the layers that read them are refitted."""
    metric: Metric = "fisher"
    """What an error of a layer's output costs: by the Fisher information there, by its mean diagonal (`trace`), or
    alike everywhere (`none`).
    """
    weights: str = "none"
    """How the tokens of the statistics are weighed; `none` was best."""

    comparable: ClassVar[bool] = True
    draws_labels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        TOKEN_WEIGHTS.find(self.weights)

    def score_for(self, task: Task, model: nn.Module, groups: Groups, loader: Batches, seed: int) -> Scored:
        """The losses from one pass over the images, and two more where units are read by no matrix.

        Raises `PlanError` for units whose values are seen nowhere.
        """
        layers = [group for group in groups if group.holds]
        measured = layer_losses(model, layers, loader, task) if layers else {}
        groups = replace(groups, groups=tuple(group for group in groups if not group.holds))
        readers = {group.name: readers_of(model, group) for group in groups}
        sites = {group.name: None if readers[group.name] else _product_site(group) for group in groups}
        products = {name: site for name, site in sites.items() if site is not None}
        unread = {group.name: _unread(group, readers[group.name]) for group in groups if group.name not in products}
        alone = [group for group in groups if group.name in unread and unread[group.name].any()]
        fixed = removal_costs(model, alone, loader, seed, task) if alone else {}
        every = [reader for found in readers.values() for reader in found]
        weights = TOKEN_WEIGHTS.find(self.weights)
        curvatures: dict[str, Curvature] = {}
        pairs: dict[str, Products] = {}
        if every or products:
            curvatures, pairs = gather(model, every, list(products.values()), loader, seed, weights, task)
        scores = {name: loss.float() for name, loss in measured.items()}
        for group in groups:
            if group.name in products:
                scores[group.name] = self._of_products(pairs[products[group.name].name]).float()
                continue
            found = torch.zeros(group.units, dtype=torch.float64)
            if readers[group.name]:
                parts = [self._regression(model, reader, curvatures[reader.name]) for reader in readers[group.name]]
                found = eliminate(parts, group.units, group.blocks, self.rounds)
            if group.name in fixed:
                found = torch.where(unread[group.name], fixed[group.name].cpu(), found)
            scores[group.name] = found.float()
        return scores

    def _regression(self, model: nn.Module, reader: Reader, found: Curvature) -> Regression:
        """The layer that reads units, with the cost of its errors."""
        layer, fisher = layer_of(model, reader), found.gradients.second
        weight, covariance = matrix(layer).to(fisher), found.inputs.covariance
        columns = torch.tensor(reader.columns, device=fisher.device)
        identity = torch.eye(len(fisher)).to(fisher)
        mean = fisher.diagonal().mean().clamp_min(1e-30)
        bend = {
            "fisher": (1 - DAMPING) * fisher + DAMPING * mean * identity,
            "trace": mean * identity,
            "none": identity,
        }[self.metric]
        if self.metric != "none":
            convolves = isinstance(layer, nn.Conv2d)
            bend = bend * (_scale(found, weight, bend, columns) if convolves else found.positions / 2)
        return Regression(covariance, weight, columns, bend, self.shrinkage)

    def _of_products(self, pair: Products) -> Tensor:
        """The scores of the query/key dimensions of one attention, head by head."""
        bend = torch.ones_like(pair.bend) if self.metric == "none" else pair.bend / 2
        queries = pair.queries / (pair.samples * pair.positions)
        keys = pair.keys / (pair.samples * pair.key_positions)
        heads = zip(queries, keys, bend.tolist(), strict=True)
        return torch.cat([cost * eliminate_products(q, k, self.shrinkage, self.rounds) for q, k, cost in heads])


def _scale(found: Curvature, weight: Tensor, bend: Tensor, columns: Tensor) -> float:
    """What a position's `bend` is multiplied by, so that maps without repair cost what the gradients say on average.

    The errors of neighbouring pixels add up, so that a map costs more than the sum over its positions; how much more
    differs by layer. Those of tokens rather do not: there the sum chose better layers on images held out.
    """
    channels = found.products.shape[1]
    size = weight.shape[1] // channels
    blocks = found.inputs.covariance.reshape(channels, size, channels, size).diagonal(dim1=0, dim2=2)
    parts = weight.reshape(len(weight), channels, size)
    alone = torch.einsum("ock,op,pcl,klc->c", parts, bend, parts, blocks)
    units = columns[::size] >= 0
    return float(found.removal[units].sum() / alone[units].sum().clamp_min(1e-300)) or 1.0  # no gradient at all


def _unread(group: Group, readers: Sequence[Reader]) -> Tensor:
    """Which units are columns of no reader, `[units]`; raises `PlanError` where these are seen nowhere."""
    unread = torch.ones(group.units, dtype=torch.bool)
    for reader in readers:
        columns = torch.tensor(reader.columns)
        unread[columns[columns >= 0]] = False
    if unread.any() and not group.sites:
        raise PlanError(
            f"the obs score does not see the units of {group.name!r}: leave the group out with kinds or skip, or score "
            "by another method"
        )
    return unread


def _product_site(group: Group) -> ProductSite | None:
    """Where a group of query/key dimensions is read, if every unit lies at one query and one key position."""
    places: list[list[tuple[int, int]]] = [[] for _ in range(group.units)]
    for number, site in enumerate(group.sites):
        for position, unit in enumerate(site.units):
            if unit >= 0:
                places[unit].append((number, position))
    sites = {tuple(number for number, _ in found) for found in places}
    if group.kind == "qk_dim" and len(sites) == 1 and len(pair := sites.pop()) == 2:
        q, k = (torch.tensor([found[side][1] for found in places]).reshape(group.blocks, -1) for side in (0, 1))
        return ProductSite(group.sites[pair[0]], group.sites[pair[1]], q, k)
    return None
