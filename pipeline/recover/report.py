"""What the repair of a model says about each layer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Repair:
    """What was done to one layer: the way (`none` where nothing beat what was there), and its ridge.

    The errors are mean squared errors of the layer's output (of an attention's logits for `products`, of the
    residual stream for `stream`) on images held out from the fit, before and after.
    """

    layer: str
    way: str
    ridge: float | None
    error_before: float
    error_after: float
