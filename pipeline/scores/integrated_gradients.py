"""Integrated gradients: the gradient averaged on the way from a baseline image, times what changed on the way."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from secateur.pipeline.data.loader import Loader
from secateur.pipeline.errors import PlanError
from secateur.pipeline.scores.aggregate import Totals
from secateur.pipeline.scores.observe import all_sites, frozen, observed
from secateur.pipeline.scores.registry import Scored, method
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
    with frozen(model), observed(model, all_sites(groups)) as values, torch.enable_grad():
        for batch, labels in loader:
            images, classes = batch.to(device), labels.to(device)
            start = torch.full_like(images, baseline)
            with torch.no_grad():
                model(images)
                change = dict(values)
                logits = model(start)
                change = {key: value - values[key] for key, value in change.items()}
            gradients: dict[tuple[str, str], Tensor] = {}
            for step in range(steps):
                between = torch.lerp(start, images, (step + 0.5) / steps).requires_grad_()
                chosen = model(between).gather(1, classes[:, None]).sum()
                keys = sorted(values)
                for key, found in zip(keys, torch.autograd.grad(chosen, [values[key] for key in keys]), strict=True):
                    gradients[key] = gradients[key] + found / steps if key in gradients else found / steps
            totals.add(lambda key, c=change, g=gradients: c[key] * g[key], classes, logits.shape[1])  # type: ignore[misc]  # mypy does not infer a lambda's defaults
    return totals.means()
