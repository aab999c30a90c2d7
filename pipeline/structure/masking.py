"""The dense model with removed units at zero: what a model without them has to compute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from secateur.pipeline.structure.canonical import canonical
from secateur.pipeline.structure.cutting import copied_with, positions_kept, sliced
from secateur.pipeline.structure.groups import Groups, Norm
from secateur.pipeline.structure.module_attributes import resize_norm
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.structure.verification_weights import VerificationWeights


class KeptNorm(nn.Module):
    """A normalisation over the units that stay only; removed ones come out as zero.

    `norm` has the width of the units at the positions `stays` of dimension `dim` of its input.
    """

    def __init__(self, norm: nn.Module, stays: Tensor, dim: int) -> None:
        super().__init__()
        self.norm = norm
        self.dim = dim
        self.register_buffer("stays", stays)

    def __getattr__(self, name: str) -> Any:
        """What the model asks of the normalisation (`eps`)."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "norm":
                raise
            return getattr(self.norm, name)

    def forward(self, x: Tensor) -> Tensor:
        """Normalises `x` along the units that stay."""
        index = self.get_buffer("stays")
        return torch.zeros_like(x).index_copy(self.dim, index, self.norm(x.index_select(self.dim, index)))


def masked(
    model: nn.Module,
    groups: Groups,
    plan: Plan,
    weights: VerificationWeights | None = None,
    dtype: torch.dtype = torch.float32,
) -> nn.Module:
    """The dense model with every parameter slice of a removed unit at zero; it shares all other tensors.

    It is not for training. With `weights` it has these, as `dtype`, and what normalises over units counts only those
    that stay.
    """
    dense = canonical(model)
    own: set[str] = set()
    if weights:
        tensors, own = weights.tensors(dense, dtype), {*weights.factors, *weights.values}
    else:
        tensors = {name: tensor.detach() for name, tensor in [*dense.named_parameters(), *dense.named_buffers()]}
    index = positions_kept(groups, plan.kept)
    for name in {name for name, _ in index} - own:
        tensors[name] = tensors[name].clone()
    for (name, dim), stays in index.items():
        gone = torch.ones(tensors[name].shape[dim], dtype=torch.bool)
        gone[stays] = False
        tensors[name].index_fill_(dim, gone.nonzero().flatten().to(tensors[name].device), 0)
    copied = copied_with(dense, tensors)
    if weights:
        for name, axis in groups.norms.items():
            stays = torch.from_numpy(axis.positions(plan.kept)).nonzero().flatten()
            if len(stays) < axis.size:
                _narrow_norm(copied, name, axis, stays, index)
    return copied


def _narrow_norm(
    copied: nn.Module, name: str, axis: Norm, stays: Tensor, index: Mapping[tuple[str, int], Tensor]
) -> None:
    """Replaces a normalisation by one over the units that stay."""
    norm = copied.get_submodule(name)
    for key, tensor in [*norm.named_parameters(), *norm.named_buffers()]:
        tensor.data = sliced(tensor.detach(), f"{name}.{key}", index)
    resize_norm(norm, axis.size, len(stays))
    copied.set_submodule(name, KeptNorm(norm, stays.to(next(copied.parameters()).device), axis.dim))
