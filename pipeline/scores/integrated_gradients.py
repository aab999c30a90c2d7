"""Integrated gradients: the gradient averaged on the way from a baseline image, times what changed on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from secateur.core.errors import PlanError
from secateur.core.model_inputs import ModelInputs, call, has_batch, map_tensors, moved, samples_of, tensors_in
from secateur.core.modules import device_of, frozen
from secateur.core.ranges import Range
from secateur.pipeline.data.loader import Batches
from secateur.pipeline.scores.aggregate import Aggregate, Totals
from secateur.pipeline.scores.registry import Scored, ScoreMethod, method
from secateur.pipeline.statistics.capture import all_sites, gradients_of, observed
from secateur.pipeline.structure.groups import Groups


@method("integrated_gradients")
@dataclass(frozen=True)
class IntegratedGradients(ScoreMethod):
    """The mean over samples of (h(x) - h(x')) times the mean of dF/dh on the straight path from x' to x.

    Sundararajan et al., 2017 (arXiv 1703.01365), for a unit's values `h` and the label's logit `F`; `x'` is an image of
    the constant `baseline`. The scores are `[units]`, or `[classes, units]` if `per_class`.
    """

    steps: Annotated[int, Range(1)] = 20
    """At how many points of the path gradients are taken, by the midpoint rule."""
    baseline: float = 0.0
    """The constant value, after preprocessing, of the image that the path starts from."""
    aggregate: Aggregate = "absolute_mean"
    """Where the absolute value is taken: nowhere, before or after the sum over tokens or space, or of the mean."""
    per_class: bool = False
    """Whether units are scored for each class, `[classes, units]`."""

    comparable: ClassVar[bool] = True

    @property
    def by_class(self) -> bool:
        return self.per_class

    def score(self, model: nn.Module, groups: Groups, loader: Batches, seed: int) -> Scored:
        """One forward and backward pass for each batch and step score all groups."""
        device = device_of(model)
        totals = Totals(groups, self.aggregate, self.per_class)
        with frozen(model), observed(model, all_sites(groups)) as values:
            for batch, labels in loader:
                images, classes = moved(batch, device), labels.to(device)
                found, logits = along_path(model, images, values, self.steps, classes, self.baseline)
                totals.add(found.__getitem__, classes, logits.shape[1])
        return totals.means()


def along_path(
    model: nn.Module,
    images: ModelInputs,
    values: Mapping[tuple[str, str], Tensor],
    steps: int,
    classes: Tensor | None = None,
    baseline: float = 0.0,
) -> tuple[dict[tuple[str, str], Tensor], Tensor]:
    """The attributions of one batch at the sites whose values an open `observed` keeps up to date, and its logits.

    `images`, which may be any inputs, lie on the model's device, `values` is the dictionary of `observed`, and
    `classes` `[B]` are the logits explained (without them, the predicted ones). Raises `PlanError` for whole numbers.
    """
    samples = samples_of(images)
    if any(has_batch(tensor, samples) and not tensor.is_floating_point() for tensor in tensors_in(images)):
        raise PlanError(
            "integrated gradients move the inputs from a baseline, but some of them are whole numbers, between which "
            "there is no path: score by taylor, lrp or obs"
        )

    def at(share: float) -> ModelInputs:
        """The point on the path; what is the same for all samples does not move."""

        def point(tensor: Tensor) -> Tensor:
            if not has_batch(tensor, samples):
                return tensor
            return torch.lerp(torch.full_like(tensor, baseline), tensor, share).requires_grad_()

        found: ModelInputs = map_tensors(point, images)
        return found

    with torch.no_grad():
        logits: Tensor = call(model, images)
        change = dict(values)
        call(model, at(0.0))
        change = {key: value - values[key] for key, value in change.items()}
    explained = logits.argmax(1) if classes is None else classes
    gradients: dict[tuple[str, str], Tensor] = {}
    with torch.enable_grad():
        for step in range(steps):
            chosen = call(model, at((step + 0.5) / steps)).gather(1, explained[:, None]).sum()
            for key, found in gradients_of(chosen, values).items():
                gradients[key] = gradients[key] + found / steps if key in gradients else found / steps
    return {key: change[key] * gradient for key, gradient in gradients.items()}, logits
