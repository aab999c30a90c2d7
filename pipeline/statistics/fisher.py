"""What the second-order scores stream over the images: how the loss bends along what the units feed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from secateur.core.errors import DataError
from secateur.core.model_inputs import ModelInputs, asking, call, samples_of
from secateur.core.modules import device_of, frozen
from secateur.pipeline.data.loader import Batches
from secateur.pipeline.statistics.capture import along, gradients_of, observed
from secateur.pipeline.statistics.layer_matrices import Reader, channel_dim, input_rows, layer_of, output_rows
from secateur.pipeline.statistics.moments import Moments
from secateur.pipeline.statistics.parts import Parts
from secateur.pipeline.structure.groups import SIDES, Site
from secateur.pipeline.tasks.classify import Classify
from secateur.pipeline.tasks.task import Task

Attributions = Mapping[tuple[str, str], Tensor]
"""What is attributed to each value at sites, by their keys."""
Attribution = Callable[[nn.Module, ModelInputs, Sequence[Site]], Attributions]
"""What a model, its inputs and sites give."""


@dataclass(frozen=True)
class TokenWeight:
    """The weight `[B, N]` of each row of a reader's input, for statistics that some rows shape more than others.

    `rule` sees the rows `[B, N, d]`, what is attributed to each of their values, and the gradients `[B, N, out]` at the
    reader's output. `attribute` attributes; without it, that is the gradient times the value.
    """

    rule: Callable[[Tensor, Tensor, Tensor], Tensor]
    attribute: Attribution | None = None


@dataclass
class Curvature:
    """For a reader, the moments of its input rows and of the gradients at its output rows; rows of one sample.

    For each input channel, `products` `[3, channels]` sums over `samples` (sum g x)^2, (sum g x) (sum g) and (sum g)^2,
    with x all of its values in one sample and g the gradients there.
    """

    inputs: Moments
    gradients: Moments
    positions: int
    products: Tensor
    samples: int = 0

    @property
    def removal(self) -> Tensor:
        """E (sum g (x - m))^2 / 2 for each channel with its mean m: what it costs to fix it at m, `[channels]`."""
        mean = self.inputs.mean.reshape(self.products.shape[1], -1).mean(1)
        both, mixed, slopes = self.products / self.samples
        cost: Tensor = (both - 2 * mean * mixed + mean.square() * slopes) / 2
        return cost


@dataclass
class Products:
    """For queries and keys `[..., heads, dims]`: second moments `[heads, dims, dims]`, keys about their image's mean.

    `gradients` `[heads]` sums the squared gradients with respect to the queries. A sample has `positions` of queries
    and `key_positions` of keys.
    """

    samples: int
    queries: Tensor
    keys: Tensor
    gradients: Tensor
    positions: int = 0
    key_positions: int = 0

    @property
    def bend(self) -> Tensor:
        """The sum over all pairs of positions of E (dL/da)^2 for a = q k^T, one sample, for each head: `[heads]`.

        From dL/dq_i = sum_j dL/da_ij k_j follows E |dL/dq|^2 = key_positions * E (dL/da)^2 * tr E k k^T.
        """
        energy = self.gradients / (self.samples * self.positions)
        spread = torch.einsum("hdd->h", self.keys) / (self.samples * self.key_positions)
        return self.positions * energy / spread.clamp_min(1e-30)


@dataclass(frozen=True)
class ProductSite:
    """Where the queries and keys of one attention are read: outputs of modules, and the positions `[heads, dims]`.

    Both are those of one module where they come from one projection.
    """

    query_site: Site
    key_site: Site
    queries: Tensor
    keys: Tensor

    @property
    def sites(self) -> tuple[Site, Site]:
        """Those of the queries and of the keys."""
        return self.query_site, self.key_site

    @property
    def name(self) -> str:
        """That of what makes the queries."""
        return self.query_site.name


def gather(
    model: nn.Module,
    readers: Sequence[Reader],
    products: Sequence[ProductSite],
    loader: Batches,
    seed: int,
    weight: TokenWeight | None,
    task: Task | None = None,
) -> tuple[dict[str, Curvature], dict[str, Products]]:
    """The statistics of readers and of query/key products, by layer, in one pass and bounded memory.

    The gradients are those of the task's loss (a classifier's cross-entropy without one) with labels drawn from the
    model's own prediction, whose second moment is the Fisher information: no true label is needed (Kunstner et al.,
    2019, arXiv 1905.12558).
    """
    device, task = device_of(model), task or Classify()
    every = {reader.name: reader for reader in readers}
    names = sorted(every)
    inputs, outputs = ([every[name].site(side) for name in names] for side in SIDES)
    sites = [*inputs, *outputs]
    read = [site for part in products for site in part.sites]
    curvatures: dict[str, Curvature] = {}
    found: dict[str, Products] = {}
    draws, batches = np.random.default_rng(seed), Parts(model, loader)
    with frozen(model), torch.enable_grad(), observed(model, [*sites, *read]) as values:
        for batch in batches:
            images = asking(batch, device)
            samples = samples_of(images)
            attributed = weight.attribute(model, images, inputs) if weight and weight.attribute else None
            loss = task.drawn_loss(batches.run(samples, partial(call, model, images)), draws)
            gradients = gradients_of(loss, values)
            for name in names:
                layer = layer_of(model, every[name])
                x, g = values[name, "input"].detach(), gradients[name, "output"]
                rows, slope = input_rows(layer, x), output_rows(layer, g)
                weights = None
                if weight:
                    given = x * gradients[name, "input"] if attributed is None else attributed[name, "input"]
                    weights = weight.rule(rows, input_rows(layer, given), slope)
                if name not in curvatures:
                    empty = [Moments.empty(part.shape[-1], device) for part in (rows, slope)]
                    channels = torch.zeros(3, x.shape[channel_dim(layer)], dtype=torch.float64, device=device)
                    positions = g.numel() // (g.shape[0] * slope.shape[-1])
                    curvatures[name] = Curvature(empty[0], empty[1], positions, channels)
                curvatures[name].inputs.add(rows, weights)
                curvatures[name].gradients.add(slope)
                curvatures[name].samples += samples
                curvatures[name].products += _products(x, gradients[name, "input"], channel_dim(layer), samples)
            for part in products:
                one, two = (site.key for site in part.sites)
                _add_products(found, part, values[one].detach(), values[two].detach(), gradients[one])
    if not curvatures and not found:
        raise DataError("there are no images to gather statistics from: give a data set with at least one")
    return curvatures, found


def _products(x: Tensor, gradient: Tensor, dim: int, samples: int) -> Tensor:
    """One batch's part of `Curvature.products`."""
    wide = torch.promote_types(x.dtype, torch.float32)
    both, slopes = (along(part, dim, samples).sum(-1, dtype=wide).double() for part in (gradient * x, gradient))
    return torch.stack([both.square().sum(0), (both * slopes).sum(0), slopes.square().sum(0)])


def _add_products(found: dict[str, Products], part: ProductSite, q: Tensor, k: Tensor, gradient: Tensor) -> None:
    """Adds the queries and keys of one batch; a key's mean over its image moves no softmax and is left out."""
    q, gradient = (_heads(tensor, part.query_site, part.queries) for tensor in (q, gradient))
    k = _heads(k, part.key_site, part.keys)
    k = k - k.mean(1, keepdim=True)
    if part.name not in found:
        heads, dims = part.queries.shape
        zeros = torch.zeros(heads, dims, dims, dtype=torch.float64, device=q.device)
        found[part.name] = Products(0, zeros, zeros.clone(), zeros[:, 0, 0].clone())
    into = found[part.name]
    into.samples += len(q)
    into.positions, into.key_positions = q.shape[1], k.shape[1]
    into.queries += torch.einsum("bnhd,bnhe->hde", q, q).double()
    into.keys += torch.einsum("bnhd,bnhe->hde", k, k).double()
    into.gradients += gradient.square().sum((0, 1, 3)).double()


def _heads(x: Tensor, site: Site, positions: Tensor) -> Tensor:
    """The queries or keys at a site, `[B, N, heads, dims]`."""
    last = x.movedim(site.dim, -1)
    return last.reshape(len(x), -1, last.shape[-1])[..., positions]
