"""How much each token counts in the statistics of the `obs` score."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from secateur.core.model_inputs import ModelInputs, samples_of
from secateur.core.registry import Registry
from secateur.pipeline.scores.integrated_gradients import along_path
from secateur.pipeline.scores.lrp.composite import find_composite
from secateur.pipeline.scores.lrp.relevance import relevances
from secateur.pipeline.statistics.capture import observed
from secateur.pipeline.statistics.fisher import Attributions, TokenWeight
from secateur.pipeline.structure.groups import Site

CLASS_TOKEN_WEIGHT = 10.0
TOKEN_WEIGHTS: Registry[TokenWeight | None] = Registry("token weighting", {})
"""The weightings by name; None counts every token once."""
STEPS = 5
"""The points on the path of integrated gradients; tokens are told apart by fewer of them than units are."""


def _gradient(rows: Tensor, shares: Tensor, out: Tensor) -> Tensor:
    """The squared gradient at the reader's output."""
    return out.square().sum(-1)


def _energy(rows: Tensor, shares: Tensor, out: Tensor) -> Tensor:
    """The squared values of the units."""
    return rows.square().sum(-1)


def _total(rows: Tensor, shares: Tensor, out: Tensor) -> Tensor:
    """What is attributed to the token: the sum over the units, taken absolute."""
    return shares.sum(-1).abs()


def _first(rows: Tensor, shares: Tensor, out: Tensor) -> Tensor:
    """The first token (a class token) counts `CLASS_TOKEN_WEIGHT` times."""
    weights = rows.new_ones(rows.shape[:2])
    weights[:, 0] = CLASS_TOKEN_WEIGHT
    return weights


def _lrp(model: nn.Module, images: ModelInputs, sites: Sequence[Site]) -> Attributions:
    """Relevance for the predicted class, by the epsilon rule."""
    unread = torch.zeros(samples_of(images), dtype=torch.long)
    (found,) = relevances(model, [(images, unread)], sites, find_composite("epsilon"), "predicted")
    return found.at


def _integrated_gradients(model: nn.Module, images: ModelInputs, sites: Sequence[Site]) -> Attributions:
    """Integrated gradients of the predicted class's logit, from a grey image."""
    with observed(model, sites) as values:
        return along_path(model, images, values, STEPS)[0]


TOKEN_WEIGHTS.register("none")(None)
TOKEN_WEIGHTS.register("gradient")(TokenWeight(_gradient))
TOKEN_WEIGHTS.register("activation")(TokenWeight(_energy))
TOKEN_WEIGHTS.register("taylor")(TokenWeight(_total))
TOKEN_WEIGHTS.register("lrp")(TokenWeight(_total, _lrp))
TOKEN_WEIGHTS.register("integrated_gradients")(TokenWeight(_total, _integrated_gradients))
TOKEN_WEIGHTS.register("class_token")(TokenWeight(_first))
