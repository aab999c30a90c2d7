"""Batch normalisation statistics of a changed model, estimated anew."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from secateur.core.errors import DataError
from secateur.core.modules import device_of, frozen
from secateur.pipeline.data.loader import Batches


def reestimate(model: nn.Module, loader: Batches) -> None:
    """Sets the running means and variances of all batch normalisations to the averages over `loader`, in place.

    Every image counts the same, whatever its batch. Only their statistics change. Nothing happens to a model without
    batch normalisation. Raises `DataError` for fewer than two images: one alone has no variance after global pooling.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms:
        return
    device, seen = device_of(model), 0
    momenta = [norm.momentum for norm in norms]
    try:
        with frozen(model), torch.no_grad():
            for images in _two_or_more(loader):
                seen += len(images)
                for norm in norms:
                    norm.train()
                    norm.momentum = len(images) / seen
                    if seen == len(images):
                        norm.reset_running_stats()
                model(images.to(device))
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def _two_or_more(loader: Batches) -> Iterator[Tensor]:
    """The images of the batches; single ones go with the next batch, and at the end with the last one."""
    held: Tensor | None = None
    single: Tensor | None = None
    for images, _ in loader:
        together = images if single is None else torch.cat([single, images])
        if len(together) < 2:
            single = together
            continue
        single = None
        if held is not None:
            yield held
        held = together
    rest = [part for part in (held, single) if part is not None]
    if sum(map(len, rest)) < 2:
        raise DataError("batch normalisation needs statistics of two images at least: give more images")
    yield torch.cat(rest)
