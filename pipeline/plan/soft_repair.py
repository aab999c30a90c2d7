"""What soft masks leave of a model that will be repaired: units come back as far as the others can rebuild them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, Protocol

import torch
from timm.layers import Attention
from torch import Tensor, nn

from secateur.pipeline.data.shuffled import Batches
from secateur.pipeline.recover.layers import logit_rows, mixes_heads
from secateur.pipeline.recover.low_rank import roots
from secateur.pipeline.recover.readers import is_matrix, matrix, spread
from secateur.pipeline.recover.statistics import Moments, Probe, gather_moments
from secateur.pipeline.scores.multiply import changed_at, multiplied
from secateur.pipeline.structure.groups import Group, Groups, Site

RIDGE = 1e-2
"""The strength of the regressions, as a share of the mean variance; most repaired layers choose about that."""
Factors = Mapping[str, Tensor]
Side = Literal["input", "output"]


class Rebuilt(Protocol):
    """What takes the place of the values `[..., positions]` at one side of a module under factors of the groups."""

    def __call__(self, values: Tensor, factors: Factors) -> Tensor: ...


class SoftRepair:
    """Masks of a model whose repair is foreseen: a context for its forward passes, under factors of the groups.

    A layer that reads units sees, of each unit that is gone, the best linear prediction from those that stay, and of
    one that stays in part, that part of what they cannot predict. With factors of 0 and 1 that is what ridge
    regression (`recover.fold`) makes of the layer; heads keep the best mixtures of their values and the best low-rank
    form of their logits, as many as dimensions stay (`recover.low_rank`). Units that nothing of this is known of are
    multiplied by their factors. The statistics `[d, d]` are those of the dense model on the images of `loader`.
    """

    def __init__(self, model: nn.Module, groups: Groups, loader: Batches, ridge: float = RIDGE) -> None:
        self._model = model
        heads = {name: module for name, module in model.named_modules() if mixes_heads(module)}
        products = [group for group in groups if group.kind == "qk_dim" and group.name.rpartition(".")[0] in heads]
        places = {key: found for key, found in _places(groups).items() if _rebuilds(model, *key)}
        probes = {key[0]: Probe(*key, partial(_rows, dim=found[0][1].dim)) for key, found in places.items()}
        for group in products:
            for part in (0, 1):
                rows = partial(logit_rows, part=part)
                probes[f"{group.name} {part}"] = Probe(group.sites[0].module, "output", rows)
        moments = {name: parts[0] for name, parts in gather_moments(model, probes, loader).items()} if probes else {}
        self._rebuilt: dict[tuple[str, Side], Rebuilt] = {}
        for (name, side), found in places.items():
            reader, parent = model.get_submodule(name), name.rpartition(".")[0]
            mixed = parent in heads and name == f"{parent}.proj"
            mixtures = _values(heads[parent], matrix(reader), moments[name]) if mixed else None
            self._rebuilt[name, side] = Survivors(moments[name], found, ridge, _centred(reader), mixtures)
        for group in products:
            q, k = (moments[f"{group.name} {part}"].second for part in (0, 1))
            self._rebuilt[group.sites[0].module, "output"] = _products(group, q, k)
        others = [
            replace(group, sites=tuple(site for site in group.sites if (site.module, site.side) not in self._rebuilt))
            for group in groups
        ]
        self._others = replace(groups, groups=tuple(others))

    @contextmanager
    def under(self, factors: Factors) -> Iterator[None]:
        """Within it, the model computes what is left of it under the factors `[units]` of groups; none: all stays."""
        with ExitStack() as stack:
            stack.enter_context(multiplied(self._model, self._others, factors))
            for (name, side), rebuilt in self._rebuilt.items():
                stack.enter_context(
                    changed_at(self._model.get_submodule(name), side, partial(rebuilt, factors=factors))
                )
            yield


class Survivors:
    """Units read by one layer, predicted from each other.

    In the order of the factors from the largest on, with C = L L^T the covariance: x - L (1 - M) L^-1 (x - m). The
    rows of L^-1 (x - m) are what each unit adds to those before it. With `heads`, the units are the mixtures B (x - m)
    of the values of all heads instead, from which A leads back.
    """

    def __init__(
        self,
        moments: Moments,
        found: Sequence[tuple[str, Site]],
        ridge: float,
        centred: bool,
        heads: HeadMixtures | None = None,
    ) -> None:
        covariance = moments.covariance if heads is None else heads.right @ moments.covariance @ heads.right.T
        strength = (ridge * covariance.diagonal().mean()).clamp_min(1e-30)
        self._covariance = covariance + strength * torch.eye(len(covariance)).to(covariance)
        self._mean = moments.mean if centred else torch.zeros_like(moments.mean)
        self._found, self._dim, self._heads = found, found[0][1].dim, heads
        self._order: Tensor | None = None
        self._bases: tuple[Tensor, Tensor] | None = None

    def __call__(self, values: Tensor, factors: Factors) -> Tensor:
        mask = mask_at(self._found, factors)
        if mask is None:
            return values
        mask = mask if self._heads is None else self._heads.by_rank(mask)
        order = mask.detach().argsort(descending=True, stable=True)
        if self._bases is None or self._order is None or not torch.equal(order, self._order):
            self._order, self._bases = order, self._factorised(order)
        return _without(values, self._dim, *self._bases, self._mean, mask[order])

    def _factorised(self, order: Tensor) -> tuple[Tensor, Tensor]:
        """L `[d, units]` and L^-1 `[units, d]`, from and to the positions where they are."""
        lower = torch.linalg.cholesky(self._covariance[order][:, order])
        inverse = torch.linalg.solve_triangular(lower, torch.eye(len(lower)).to(lower), upper=False)
        back = order.argsort()
        left, right = lower[back], inverse[:, back]
        return (left, right) if self._heads is None else (self._heads.left @ left, right @ self._heads.right)


@dataclass(frozen=True)
class HeadMixtures:
    """The mixtures of each head's dimensions, the best first: `left` A `[positions, mixtures]`, `right` B back.

    `place` `[heads, dims]` are the positions whose factors count for a head.
    """

    left: Tensor
    right: Tensor
    place: Tensor

    def by_rank(self, mask: Tensor) -> Tensor:
        """The factor of each mixture `[mixtures]`: the best mixture of a head has the largest factor in it."""
        return mask[self.place].sort(dim=1, descending=True).values.flatten()


@dataclass(frozen=True)
class Products:
    """Queries as the best low-rank form of their logits has them."""

    mixtures: HeadMixtures
    found: tuple[tuple[str, Site], ...]

    def __call__(self, values: Tensor, factors: Factors) -> Tensor:
        mask = mask_at(self.found, factors)
        if mask is None:
            return values
        left, right = self.mixtures.left, self.mixtures.right
        return _without(values, -1, left, right, torch.zeros(len(left)), self.mixtures.by_rank(mask))


def _values(attention: nn.Module, weight: Tensor, moments: Moments) -> HeadMixtures:
    """The best mixtures of each head's values x for what W x makes of them, as `low_rank.value_encoder` has them."""
    assert isinstance(attention, Attention)  # for the type checker
    place = torch.arange(weight.shape[1]).reshape(attention.num_heads, -1)
    left, right = [], []
    for head in place:
        root, inverse = roots(moments.covariance[head][:, head])
        _, _, turn = torch.linalg.svd(weight[:, head].to(root) @ root, full_matrices=True)
        left.append(root @ turn.T)
        right.append(turn @ inverse)
    return HeadMixtures(torch.block_diag(*left), torch.block_diag(*right), place)


def _products(group: Group, queries: Tensor, keys: Tensor) -> Products:
    """What a head's queries q are to be for the best low-rank form of its logits, of the second moments Q and K.

    With Q^(1/2) K^(1/2) = U s V^T, logits of rank r are q^T Q^(-1/2) U s_r V^T K^(-1/2) k: only the queries change.
    """
    (site,) = group.sites
    place = torch.arange(group.units).reshape(group.blocks, -1)
    left, right = [], []
    for head in place:
        (q, q_inverse), (k, k_inverse) = roots(queries[head][:, head]), roots(keys[head][:, head])
        u, values, v = torch.linalg.svd(q @ k)
        left.append((values[:, None] * v @ k_inverse).T)
        right.append((q_inverse @ u).T)
    keys_and_values = torch.zeros(2 * group.units, group.units).to(queries)  # which stay as they are
    out, into = torch.block_diag(*left), torch.block_diag(*right)
    packed = torch.cat([out, keys_and_values]), torch.cat([into, keys_and_values.T], dim=1)
    return Products(HeadMixtures(*packed, place), ((group.name, site),))


def mask_at(found: Sequence[tuple[str, Site]], factors: Factors) -> Tensor | None:
    """The product of the groups' factors at each position `[d]`, 1 for positions of no unit; None where none counts."""
    mask: Tensor | None = None
    for name, site in found:
        if name in factors:
            factor = torch.cat([factors[name], factors[name].new_ones(1)])
            part = factor[torch.as_tensor(site.units, device=factor.device)]  # -1 is the one at the end
            mask = part if mask is None else mask * part
    return mask


def _without(values: Tensor, dim: int, left: Tensor, right: Tensor, mean: Tensor, mask: Tensor) -> Tensor:
    """The values less A (1 - M) B (x - m) along `dim`."""
    last = values.movedim(dim, -1)
    parts = (last - mean.to(last)) @ right.to(last).T
    return values - ((parts * (1 - mask).to(last)) @ left.to(last).T).movedim(-1, dim)


def _places(groups: Groups) -> dict[tuple[str, Side], list[tuple[str, Site]]]:
    """The groups at each side of each module, with their sites."""
    places: dict[tuple[str, Side], list[tuple[str, Site]]] = {}
    for group in groups:
        for site in group.sites:
            places.setdefault((site.module, site.side), []).append((group.name, site))
    return places


def _rebuilds(model: nn.Module, name: str, side: Side) -> bool:
    """Whether units that a module sees there can be rebuilt by its weights: one matrix reads them."""
    return side == "input" and is_matrix(model.get_submodule(name))


def _centred(reader: nn.Module) -> bool:
    """Whether the mean of what is gone moves into a bias: the layer's, or of the normalisation behind a convolution."""
    return isinstance(reader, nn.Conv2d) or getattr(reader, "bias", None) is not None


def _rows(x: Tensor, dim: int) -> Tensor:
    """Rows `[B, positions, d]` of a tensor whose units lie along `dim`; some of many."""
    rows = x.movedim(dim, -1).reshape(x.shape[0], -1, x.shape[dim])
    return rows[:, spread(rows.shape[1], x.device)]
