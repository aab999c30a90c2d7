"""The proof of a surgery: removing units gives what zeroing them in the dense model gives."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from secateur.core.errors import SurgeryError
from secateur.core.modules import evaluating
from secateur.pipeline.structure.canonical import canonical
from secateur.pipeline.structure.cutting import copied_with
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.module_attributes import normalising
from secateur.pipeline.structure.plan import Plan

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9, torch.float16: 2e-2, torch.bfloat16: 8e-2}


class KeptNorm(nn.Module):
    """A normalisation over the units that stay only; removed ones come out as zero.

    `norm` is the small model's module, `stays` a mask `[units]` over dimension `dim` of its input.
    """

    def __init__(self, norm: nn.Module, stays: Tensor, dim: int) -> None:
        super().__init__()
        self.norm = norm
        self.dim = dim
        self.register_buffer("stays", stays.nonzero().flatten())

    def forward(self, x: Tensor) -> Tensor:
        """Normalises `x` along the units that stay."""
        index = self.get_buffer("stays")
        return torch.zeros_like(x).index_copy(self.dim, index, self.norm(x.index_select(self.dim, index)))


def masked(model: nn.Module, groups: Groups, plan: Plan, small: nn.Module | None = None) -> nn.Module:
    """The dense model with every parameter slice of a removed unit at zero; it shares all other tensors.

    It is not for training. Where a normalisation runs over removed units, it counts the others only, by the module of
    `small`.
    """
    dense = canonical(model)
    gone = {key: ~axis.positions(plan.kept) for key, axis in groups.axes.items()}
    changed = {name for (name, _), removed in gone.items() if removed.any()}
    tensors = {name: tensor.detach() for name, tensor in [*dense.named_parameters(), *dense.named_buffers()]}
    for name in changed:
        tensors[name] = tensors[name].clone()
    for (name, dim), removed in gone.items():
        if removed.any():
            index = torch.from_numpy(removed.nonzero()[0]).to(tensors[name].device)
            tensors[name].index_fill_(dim, index, 0)
    copied = copied_with(dense, tensors)
    for name, axis in groups.norms.items():
        stays = torch.from_numpy(axis.positions(plan.kept))
        if small is not None and not stays.all():
            along = normalising(copied.get_submodule(name))
            assert along is not None  # for the type checker: groups.norms names only such modules
            norm = copy.deepcopy(small.get_submodule(name))
            copied.set_submodule(name, KeptNorm(norm, stays.to(next(model.parameters()).device), along))
    return copied


def tolerance(model: nn.Module) -> float:
    """The difference allowed between removed and masked, relative to the output's scale."""
    return TOLERANCE[next(model.parameters()).dtype]


def prove(
    model: nn.Module, small: nn.Module, groups: Groups, plan: Plan, cut: Callable[[Plan], nn.Module], batch: int = 2
) -> float:
    """The largest difference between the small and the masked model, relative to the output's scale.

    Both see the same seeded normal input `[batch, *groups.input_shape]` in evaluation mode. Raises `SurgeryError`
    when the difference exceeds the dtype's tolerance (float32: 1e-4); `cut` then repeats the surgery group by group
    to name the first one that disagrees.
    """
    found = difference(model, small, groups, plan, batch)
    limit = tolerance(model)
    if found <= limit:
        return found
    total = found
    for name, kept in plan.kept.items():
        alone = Plan({name: kept}, plan.fingerprint, plan.input_shape)
        found = difference(model, cut(alone), groups, alone, batch)
        if not found <= limit:
            raise SurgeryError(
                f"removing from the group {name!r} is not equal to masking it: outputs differ by {found:.1e} of their "
                f"scale, allowed is {limit:.0e}; leave the group out of the plan and report the model"
            )
    raise SurgeryError(
        f"removing is not equal to masking: outputs differ by {total:.1e} of their scale, allowed is {limit:.0e}, "
        "though each group alone agrees; report the model and the plan"
    )


def difference(model: nn.Module, small: nn.Module, groups: Groups, plan: Plan, batch: int = 2) -> float:
    """The largest difference between the outputs of the small and the masked model, relative to their scale."""
    parameter = next(model.parameters())
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, *groups.input_shape, generator=generator).to(parameter.device, parameter.dtype)
    with torch.no_grad(), evaluating(small):
        result = _outputs(small(x))
        reference = _outputs(masked(model, groups, plan, small).eval()(x))
    if [tuple(tensor.shape) for tensor in reference] != [tuple(tensor.shape) for tensor in result]:
        return float("inf")
    differences = []
    for one, two in zip(reference, result, strict=True):
        scale = one.abs().max().clamp_min(torch.finfo(one.dtype).tiny)
        differences.append(float((two - one).abs().max() / scale))
    return max(differences, key=lambda found: (found != found, found))  # NaN above all


def _outputs(found: object) -> list[Tensor]:
    """All tensors in a model's output, whatever holds them."""
    return [leaf for leaf in tree_leaves(found) if isinstance(leaf, Tensor)]
