"""Which group a small model disagrees in: the first one whose tensors, surgery or code are not what they should be."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from secateur.core.model_inputs import call, tensors_in
from secateur.pipeline.structure.canonical import canonical
from secateur.pipeline.structure.comparison import Comparison
from secateur.pipeline.structure.cutting import cut, positions_kept, sliced
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.one_dtype import OneDtype
from secateur.pipeline.structure.outputs import relative_difference
from secateur.pipeline.structure.plan import Plan


def wrong_tensor(
    model: nn.Module, small: nn.Module, groups: Groups, plan: Plan, names: Collection[str] | None = None
) -> tuple[str, str] | None:
    """The first tensor of a small model that is not what the plan leaves of the dense one's, as (group, tensor).

    The group is the one along whose dimension the tensor differs, empty for a tensor of no group. All shapes are
    looked at, and the numbers of the tensors `names` (by default of all).
    """
    index = positions_kept(groups, plan.kept)
    here: Mapping[str, Tensor] = dict([*small.named_parameters(), *small.named_buffers()])
    dense = canonical(model)
    wrong: dict[str, list[str]] = {}
    for name, tensor in [*dense.named_parameters(), *dense.named_buffers()]:
        if name not in here:
            continue
        found = here[name].detach()
        lengths = [len(index[name, dim]) if (name, dim) in index else size for dim, size in enumerate(tensor.shape)]
        if list(found.shape) != lengths:
            dims = [dim for dim in range(tensor.ndim) if found.ndim != tensor.ndim or found.shape[dim] != lengths[dim]]
            wrong[name] = [group for dim in dims for group in _members(groups, name, dim)]
        elif names is None or name in names:
            expected = sliced(tensor.detach(), name, index).to(found)
            if not torch.equal(found, expected):
                wrong[name] = _along(groups, plan, name, found, expected)
    order = {group.name: number for number, group in enumerate(groups)}
    blamed = [(group, name) for name, found in wrong.items() for group in found]
    if blamed:
        return min(blamed, key=lambda pair: order[pair[0]])
    return next((("", name) for name in wrong), None)


def _members(groups: Groups, name: str, dim: int) -> list[str]:
    axis = groups.axes.get((name, dim))
    return [group for group, _ in axis.members] if axis else []


def _along(groups: Groups, plan: Plan, name: str, found: Tensor, expected: Tensor) -> list[str]:
    """The groups with positions at which two tensors differ, by the sums over everything else.

    Units in the wrong order change the sums along their own dimension only. Where all sums differ, it is the readers.
    """
    blamed: dict[int, list[str]] = {}
    for dim in range(found.ndim):
        axis = groups.axes.get((name, dim))
        others = [other for other in range(found.ndim) if other != dim]
        one, two = (tensor.double().sum(others) if others else tensor.double() for tensor in (found, expected))
        differs = ((one - two).abs() > 1e-9 * expected.double().abs().sum() / max(len(two), 1)).cpu().numpy()
        if axis and differs.any():
            stays = axis.positions(plan.kept)
            blamed[dim] = [group for group, units in axis.members if (np.asarray(units)[stays][differs] >= 0).any()]
    reading = {
        part.dim
        for group in groups
        for part in group.slices
        if part.tensor == name and part.role == "in" and part.dim in blamed
    }
    dims = reading if len(blamed) > 1 and reading else blamed
    return [group for dim in dims for group in blamed[dim]]


def wrong_cut(model: nn.Module, groups: Groups, plan: Plan, dtype: torch.dtype) -> str | None:
    """The first group of a plan from which units cannot be removed so that the model is the masked one."""
    for name, kept in plan.kept.items():
        alone = Plan({name: kept}, plan.fingerprint, plan.inputs)
        comparison = Comparison(model, cut(model, groups, alone), groups, alone, dtype=dtype)
        comparison.run()
        if not comparison.agrees:
            return name
    return None


def wrong_code(model: nn.Module, small: nn.Module, groups: Groups, plan: Plan, dtype: torch.dtype) -> str | None:
    """A group of a plan next to the first module that computes something else than in a small model cut anew.

    It is the first one that lies within the module, or else within the nearest module around it.
    """
    fresh = Comparison(model, cut(model, groups, plan), groups, plan, dtype=dtype)
    given = Comparison(model, small, groups, plan, dtype=dtype)
    with torch.no_grad(), OneDtype(dtype), _outputs_of(fresh.small) as expected, _outputs_of(given.small) as found:
        call(fresh.small, fresh.x), call(given.small, given.x)
    differs = [name for name in expected if relative_difference(found.get(name, []), expected[name]) > fresh.tolerance]
    path = next(iter(differs), None)
    while path is not None:
        for name in plan.kept:
            if all(f"{part.tensor}.".startswith(f"{path}." if path else "") for part in groups.named(name).slices):
                return name
        path = path.rpartition(".")[0] if path else None
    return None


@contextmanager
def _outputs_of(model: nn.Module) -> Iterator[dict[str, list[Tensor]]]:
    """The first outputs of all modules of a model, in the order in which they are done."""
    found: dict[str, list[Tensor]] = {}
    handles = []
    for name, module in model.named_modules():

        def hook(_module: nn.Module, _inputs: Any, output: Any, name: str = name) -> None:
            found.setdefault(name, [tensor.detach().clone() for tensor in tensors_in(output)])

        handles.append(module.register_forward_hook(hook))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
