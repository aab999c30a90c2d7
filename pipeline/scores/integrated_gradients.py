"""Integrated gradients: the gradient averaged on the way from a baseline image, times what changed on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from secateur.core.modules import device_of, frozen
from secateur.core.ranges import Range
from secateur.pipeline.data.loader import Batches
from secateur.pipeline.scores.aggregate import Aggregate, Totals
from secateur.pipeline.scores.registry import Scored, ScoreMethod, method
from secateur.pipeline.statistics.capture import all_sites, observed
from secateur.pipeline.structure.groups import Groups


@method("integrated_gradients")
@dataclass(frozen=True)
class IntegratedGradients(ScoreMethod):
    """The mean over samples of (h(x) - h(x')) times the mean of dF/dh on the straight path from x' to x.

    Sundararajan et al., 2017 (arXiv 1703.01365), for a unit's values `h` and the label's logit `F`, by the midpoint
    rule at `steps` points; `x'` is an image of the constant `baseline` (after preprocessing). `aggregate` says where
    the absolute value is taken (`aggregate.Totals`); `[units]`, or `[classes, units]` if `per_class`.
    """

    steps: Annotated[int, Range(1)] = 20
    baseline: float = 0.0
    aggregate: Aggregate = "absolute_mean"
    per_class: bool = False

    @property
    def by_class(self) -> bool:
        return self.per_class

    def score(self, model: nn.Module, groups: Groups, loader: Batches, seed: int) -> Scored:
        """One forward and backward pass for each batch and step score all groups."""
        device = device_of(model)
        totals = Totals(groups, self.aggregate, self.per_class)
        with frozen(model), observed(model, all_sites(groups)) as values:
            for batch, labels in loader:
                images, classes = batch.to(device), labels.to(device)
                found, logits = along_path(model, images, values, self.steps, classes, self.baseline)
                totals.add(found.__getitem__, classes, logits.shape[1])
        return totals.means()


def along_path(
    model: nn.Module,
    images: Tensor,
    values: Mapping[tuple[str, str], Tensor],
    steps: int,
    classes: Tensor | None = None,
    baseline: float = 0.0,
) -> tuple[dict[tuple[str, str], Tensor], Tensor]:
    """The attributions of one batch at the sites whose values an open `observed` keeps up to date, and its logits.

    `images` `[B, C, H, W]` lie on the model's device, `values` is the dictionary of `observed`, and `classes` `[B]` are
    the logits explained (without them, the predicted ones).
    """
    start = torch.full_like(images, baseline)
    with torch.no_grad():
        logits: Tensor = model(images)
        change = dict(values)
        model(start)
        change = {key: value - values[key] for key, value in change.items()}
    explained = logits.argmax(1) if classes is None else classes
    gradients: dict[tuple[str, str], Tensor] = {}
    with torch.enable_grad():
        for step in range(steps):
            between = torch.lerp(start, images, (step + 0.5) / steps).requires_grad_()
            chosen = model(between).gather(1, explained[:, None]).sum()
            keys = sorted(values)
            for key, found in zip(keys, torch.autograd.grad(chosen, [values[key] for key in keys]), strict=True):
                gradients[key] = gradients[key] + found / steps if key in gradients else found / steps
    return {key: change[key] * gradient for key, gradient in gradients.items()}, logits
