"""The alpha-beta rule, for inputs of both signs."""

from __future__ import annotations

from torch import Tensor, no_grad

from secateur.core.errors import PlanError
from secateur.pipeline.scores.lrp.rules import Layer, distribute, rule


@rule("alpha_beta")
def alpha_beta(layer: Layer, x: Tensor, *, alpha: float = 2.0, beta: float = 1.0) -> Tensor:
    """R_i = sum_j (alpha c_ij^+ / sum_i' c_i'j^+ - beta c_ij^- / sum_i' c_i'j^-) R_j, with c_ij = x_i w_ij.

    Bach et al., 2015, eq. 60; alpha - beta = 1 conserves relevance where a layer has contributions of both signs.
    """
    if abs(alpha - beta - 1) > 1e-6 or beta < 0:
        raise PlanError(f"alpha_beta got alpha = {alpha} and beta = {beta}, but needs alpha - beta = 1 and beta >= 0")
    with no_grad():
        z = layer(x)
    return distribute(z, [(alpha, layer.positive(x)), (-beta, layer.negative(x))])
