"""Top-1 accuracy of a classifier."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from secateur.core.errors import DataError
from secateur.pipeline.statistics.capture import frozen


def top1(model: nn.Module, loader: Iterable[tuple[Tensor, Tensor]]) -> float:
    """The share of samples whose largest logit is their label's, in percent; the model is left as it was."""
    device = next(model.parameters()).device
    right = count = 0
    with frozen(model), torch.inference_mode():
        for images, labels in loader:
            right += int((model(images.to(device)).argmax(1).cpu() == labels).sum())
            count += len(labels)
    if not count:
        raise DataError("there are no images to measure accuracy on: give a data set with at least one")
    return 100.0 * right / count
