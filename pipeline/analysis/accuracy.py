"""Top-1 accuracy of a classifier."""

from __future__ import annotations

import torch
from torch import nn

from secateur.core.errors import DataError
from secateur.core.modules import frozen
from secateur.pipeline.data.loader import Batches


def top1(model: nn.Module, loader: Batches) -> float:
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
