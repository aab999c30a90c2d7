"""A small model in the dense one's shapes: it computes the same, and the dense model's groups fit it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from secateur.core.errors import SurgeryError
from secateur.core.model_inputs import call, tensors_in
from secateur.core.modules import copied, device_of, evaluating
from secateur.pipeline.structure.canonical import canonical
from secateur.pipeline.structure.cutting import copied_with, positions_kept, sliced
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.masking import KeptNorm
from secateur.pipeline.structure.outputs import TOLERANCE, comparison_input, relative_difference
from secateur.pipeline.structure.plan import Plan


def widened(small: nn.Module, model: nn.Module, groups: Groups, plan: Plan) -> nn.Module:
    """A copy of the dense `model` with what `small`, cut by `plan` and then repaired, has for weights.

    The removed units' slices are zero, and what normalises over units counts only those that stay, so that the copy
    computes what `small` does, while `groups` are its groups too: statistics and scores of the small model can be
    gathered on it for the units by their dense numbers. It is not for training. Raises `SurgeryError` where the two
    disagree, as they do after a change of `small` that weights and biases do not tell.
    """
    dense = canonical(model)
    index = positions_kept(groups, plan.kept)
    own = dict([*small.named_parameters(remove_duplicate=False), *small.named_buffers(remove_duplicate=False)])
    tensors = {}
    for name, tensor in [*dense.named_parameters(), *dense.named_buffers()]:
        left = own[name].detach() if name in own else sliced(tensor.detach(), name, index)  # a branch may be gone
        tensors[name] = _scattered(left, name, index, tensor.shape)
    wide = copied_with(dense, tensors)
    parts = dict(small.named_modules())
    for name, axis in groups.norms.items():
        stays = torch.from_numpy(axis.positions(plan.kept)).nonzero().flatten()
        if len(stays) < axis.size and name in parts:
            wide.set_submodule(name, KeptNorm(copied(parts[name]), stays.to(device_of(small)), axis.dim))
    _check_same(wide, small, groups)
    return wide


def _scattered(left: Tensor, name: str, index: Mapping[tuple[str, int], Tensor], shape: torch.Size) -> Tensor:
    """A tensor of the dense `shape` with what is `left` at the positions that stay, and zeros elsewhere."""
    for dim in range(left.ndim):
        if (name, dim) in index:
            wide = left.new_zeros([*left.shape[:dim], shape[dim], *left.shape[dim + 1 :]])
            left = wide.index_copy(dim, index[name, dim].to(left.device), left)
    return left


@torch.no_grad()
def _check_same(wide: nn.Module, small: nn.Module, groups: Groups) -> None:
    """Raises `SurgeryError` where both give different answers for random inputs."""
    dtype = next(small.parameters()).dtype
    x = comparison_input(groups.inputs, device_of(small), dtype)
    with evaluating(wide, small):
        found, expected = (tensors_in(call(model, x)) for model in (wide, small))
    difference = relative_difference(found, expected)
    if not difference <= TOLERANCE[dtype]:
        raise SurgeryError(
            f"the small model in the dense one's shapes answers differently, by {difference:.1e} of the answers' scale "
            f"where {TOLERANCE[dtype]:.0e} is allowed: plan in one round, and report the model"
        )
