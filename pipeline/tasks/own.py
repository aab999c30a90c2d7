"""Functions of the user's own as parts of a task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from secateur.core.errors import RecipeError
from secateur.core.import_path import imported


def own_loss(path: str, outputs: Any, labels: Tensor, key: str = "task.loss") -> Tensor:
    """The loss of each image `[B]` by the user's function, which gives that, or one number for the batch: its mean.

    Raises `RecipeError`, naming the recipe's `key`, where it gives something else.
    """
    value = imported(path)(outputs, labels)
    if isinstance(value, Tensor) and value.is_floating_point() and value.shape in (torch.Size(), labels.shape[:1]):
        return value.expand(len(labels))
    shape = list(value.shape) if isinstance(value, Tensor) else f"a {type(value).__name__}"
    raise RecipeError(
        f"{key}: {path} returns {shape} for a batch of {len(labels)}, but must return a loss: a number, the mean "
        f"over the batch, or one number for each image, as a tensor"
    )


def own_scores(path: str | None, outputs: Any, usual: Callable[[Any], Tensor]) -> Tensor:
    """The scores `[B, K]` by the user's function, or the `usual` ones without it."""
    if path is None:
        return usual(outputs)
    value = imported(path)(outputs)
    if isinstance(value, Tensor) and value.ndim == 2:
        return value
    shape = list(value.shape) if isinstance(value, Tensor) else f"a {type(value).__name__}"
    raise RecipeError(f"task.output: {path} returns {shape}, but must return scores [batch, number of scores]")
