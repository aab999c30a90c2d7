"""Batch normalisation statistics of a changed model, estimated anew."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from secateur.core.modules import frozen
from secateur.pipeline.data.loader import Batches


def reestimate(model: nn.Module, loader: Batches) -> None:
    """Sets the running means and variances of all batch normalisations to the averages over `loader`, in place.

    Only their statistics change. Nothing happens to a model without batch normalisation.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms:
        return
    device = next(model.parameters()).device
    momenta = [norm.momentum for norm in norms]
    with frozen(model), torch.no_grad():
        for norm in norms:
            norm.train()
            norm.reset_running_stats()
            norm.momentum = None  # the plain average over all batches
        for images, _ in loader:
            model(images.to(device))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
