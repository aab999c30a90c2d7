"""Integrated gradients: the gradient averaged on the way from a baseline image, times what changed on the way."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from secateur.core.errors import PlanError
from secateur.core.modules import frozen
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.scores.aggregate import Totals
from secateur.pipeline.scores.registry import Scored, method
from secateur.pipeline.statistics.capture import all_sites, observed
from secateur.pipeline.structure.groups import Groups


@method("integrated_gradients")
def integrated_gradients(
    model: nn.Module,
    groups: Groups,
    loader: Loader,
    *,
    seed: int,
    steps: int = 20,
    baseline: float = 0.0,
    aggregate: str = "absolute_mean",
    per_class: bool = False,
) -> Scored:
    """The mean over samples of (h(x) - h(x')) times the mean of dF/dh on the straight path from x' to x.

    Sundararajan et al., 2017 (arXiv 1703.01365), for a unit's values `h` and the label's logit `F`, by the midpoint
    rule; `x'` is an image of the constant `baseline` (after preprocessing). `aggregate` is one of `AGGREGATES`;
    `[units]`, or `[classes, units]` if `per_class`.
    """
    if steps < 1:
        raise PlanError(f"integrated_gradients got steps = {steps}, but needs 1 or more")
    device = next(model.parameters()).device
    totals = Totals(groups, aggregate, per_class)
    with frozen(model), observed(model, all_sites(groups)) as values:
        for batch, labels in loader:
            images, classes = batch.to(device), labels.to(device)
            found, logits = along_path(model, images, values, steps, classes, baseline)
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
