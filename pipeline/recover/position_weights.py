"""How much each position of a residual stream counts in a fit: by what the answer feels of an error there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from secateur.core.model_inputs import ModelInputs, asking, call, samples_of, tensors_in
from secateur.core.modules import device_of, frozen
from secateur.pipeline.data.loader import Batches
from secateur.pipeline.statistics.capture import observed
from secateur.pipeline.statistics.functional_layers import Key
from secateur.pipeline.statistics.parts import Parts
from secateur.pipeline.structure.groups import Site

IMAGES = 64
"""So many images tell how much the positions count; they differ by position far more than by image."""


def position_weights(model: nn.Module, sites: Sequence[Site], loader: Batches) -> dict[Key, Tensor]:
    """For the tensor `[B, N, width]` at each site, the weights `[N]` of its positions, 1 on average.

    A position counts by the root of the mean squared Frobenius norm of the answer's Jacobian there, over the first
    `IMAGES` images: a class token more and more towards the end, and alone behind the last attention. The norm is
    estimated by products with random signs (Hutchinson, 1990). Positions count alike where the answer does not depend
    on the site, and where images have different numbers of them.
    """
    device, signs = device_of(model), torch.Generator().manual_seed(0)
    energies: dict[Key, list[Tensor]] = {site.key: [] for site in sites}
    batches = Parts(model, loader)
    with frozen(model), torch.enable_grad(), observed(model, sites) as values:
        for batch in _first(batches, IMAGES):
            images = asking(batch, device)
            answers = tensors_in(batches.run(samples_of(images), partial(call, model, images)))
            projected = torch.stack([(answer * _signs(answer, signs)).sum() for answer in answers]).sum()
            slopes = torch.autograd.grad(projected, [values[key] for key in energies], allow_unused=True)
            for key, slope in zip(energies, slopes, strict=True):
                felt = torch.zeros_like(values[key]) if slope is None else slope
                energies[key].append(felt.detach().double().square().sum(-1))
    return {key: _weights(found) for key, found in energies.items()}


def of_length(weights: Tensor, rows: Tensor) -> Tensor:
    """The weights `[B, N]` of the positions of rows `[B, N, d]`: all 1 where there are not so many positions."""
    fitting = weights if len(weights) == rows.shape[1] else weights.new_ones(rows.shape[1])
    return fitting.to(rows).expand(rows.shape[:2])


def _first(batches: Parts, count: int) -> Iterator[ModelInputs]:
    """Batches with so many samples, or a few more."""
    seen = 0
    for batch in batches:
        yield batch
        seen += samples_of(batch)
        if seen >= count:
            return


def _signs(like: Tensor, generator: torch.Generator) -> Tensor:
    return (2 * torch.randint(0, 2, like.shape, generator=generator) - 1).to(like)


def _weights(energies: Sequence[Tensor]) -> Tensor:
    """The weights from the squared norms `[B, N]` of some batches."""
    lengths = {energy.shape[1] for energy in energies}
    if len(lengths) != 1:
        return torch.ones(max(lengths, default=1), dtype=torch.float64)
    root = torch.cat(list(energies)).mean(0).sqrt()
    return root / root.mean() if root.sum() > 0 else torch.ones_like(root)
