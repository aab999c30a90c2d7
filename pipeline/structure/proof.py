"""The proof of a surgery: removing units gives what zeroing them in the dense model gives."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from secateur.pipeline.errors import SurgeryError
from secateur.pipeline.plan.plan import Plan
from secateur.pipeline.structure.groups import Groups

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9, torch.float16: 2e-2, torch.bfloat16: 8e-2}


def masked(model: nn.Module, groups: Groups, plan: Plan) -> nn.Module:
    """A copy of the dense model in which every parameter slice of a removed unit is zero."""
    copied = copy.deepcopy(model)
    tensors = copied.state_dict()  # shares storage with the copy's parameters
    with torch.no_grad():
        for (name, dim), axis in groups.axes.items():
            gone = torch.from_numpy(~axis.positions(plan.kept))
            if gone.any():
                tensors[name][(slice(None),) * dim + (gone,)] = 0
    return copied


def prove(
    model: nn.Module, small: nn.Module, groups: Groups, plan: Plan, cut: Callable[[Plan], nn.Module], batch: int = 2
) -> float:
    """The largest difference between the small and the masked model, relative to the output's scale.

    Both see the same seeded normal input `[batch, *groups.input_shape]` in evaluation mode. Raises `SurgeryError`
    when the difference exceeds the dtype's tolerance (float32: 1e-4); `cut` then repeats the surgery group by group
    to name the first one that disagrees.
    """
    difference = _difference(model, small, groups, plan, batch)
    limit = TOLERANCE[next(model.parameters()).dtype]
    if difference <= limit:
        return difference
    for name, kept in plan.kept.items():
        alone = Plan({name: kept}, plan.fingerprint, plan.input_shape)
        found = _difference(model, cut(alone), groups, alone, batch)
        if not found <= limit:
            raise SurgeryError(
                f"removing from the group {name!r} is not equal to masking it: outputs differ by {found:.1e} of their "
                f"scale, allowed is {limit:.0e}; leave the group out of the plan and report the model"
            )
    raise SurgeryError(
        f"removing is not equal to masking: outputs differ by {difference:.1e} of their scale, allowed is {limit:.0e}, "
        "though each group alone agrees; report the model and the plan"
    )


def _difference(model: nn.Module, small: nn.Module, groups: Groups, plan: Plan, batch: int) -> float:
    parameter = next(model.parameters())
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, *groups.input_shape, generator=generator).to(parameter.device, parameter.dtype)
    with torch.no_grad(), _evaluating(small):
        reference: Tensor = masked(model, groups, plan).eval()(x)
        result: Tensor = small(x)
    scale = reference.abs().max().clamp_min(torch.finfo(reference.dtype).tiny)
    return float((result - reference).abs().max() / scale)


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """The module in evaluation mode, and each of its parts back in its own mode afterwards."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode
