"""How much each token counts in the statistics of the `obs` score."""

from __future__ import annotations

from torch import Tensor

from secateur.pipeline.errors import PlanError, near_matches
from secateur.pipeline.scores.curvature import TokenWeight

CLASS_TOKEN_WEIGHT = 10.0


def _gradient(rows: Tensor, slopes: Tensor, out: Tensor) -> Tensor:
    """The squared gradient at the reader's output."""
    return out.square().sum(-1)


def _relevance(rows: Tensor, slopes: Tensor, out: Tensor) -> Tensor:
    """Gradient times input, summed over the units and taken absolute."""
    return (rows * slopes).sum(-1).abs()


def _first(rows: Tensor, slopes: Tensor, out: Tensor) -> Tensor:
    """The first token (a class token) counts `CLASS_TOKEN_WEIGHT` times."""
    weights = rows.new_ones(rows.shape[:2])
    weights[:, 0] = CLASS_TOKEN_WEIGHT
    return weights


TOKEN_WEIGHTS: dict[str, TokenWeight | None] = {
    "none": None,
    "gradient": _gradient,
    "relevance": _relevance,
    "class_token": _first,
}


def find_token_weight(name: str) -> TokenWeight | None:
    """The weighting of that name, None for equal weights; raises `PlanError` with the choices when there is none."""
    if name not in TOKEN_WEIGHTS:
        choices = f"{', '.join(TOKEN_WEIGHTS)}{near_matches(name, TOKEN_WEIGHTS)}"
        raise PlanError(f"there is no token weighting {name!r}, but {choices}")
    return TOKEN_WEIGHTS[name]
