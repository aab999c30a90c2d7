"""The z-plus rule, for inputs of both signs."""

from __future__ import annotations

from torch import Tensor, no_grad

from secateur.pipeline.scores.lrp.rules import Layer, distribute, rule


@rule("z_plus")
def z_plus(layer: Layer, x: Tensor) -> Tensor:
    """R_i = sum_j (x_i w_ij)^+ / sum_i' (x_i' w_i'j)^+ R_j: only positive contributions count.

    Montavon et al., 2017, eq. 18 (alpha-beta with alpha = 1, beta = 0).
    """
    with no_grad():
        z = layer(x)
    return distribute(z, [(1.0, layer.positive(x))])
