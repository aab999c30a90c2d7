"""Surgery: a new, smaller module with the removed units' parameters cut away, proven equal to the masked model."""

from __future__ import annotations

from torch import nn

from secateur.core.errors import PlanError
from secateur.pipeline.structure.cutting import cut, example_for
from secateur.pipeline.structure.equivalence import prove
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.history import plan_of
from secateur.pipeline.structure.plan import Plan

__all__ = ["cut", "example_for", "plan_of", "prune"]


def prune(model: nn.Module, plan: Plan, groups: Groups | None = None) -> nn.Module:
    """A new module without the units that `plan` drops; `model` is left untouched.

    The result is compared with the dense model whose removed units are zeroed, on the same random input, before it
    is returned (`proof.prove`). Raises `PlanError` when the plan was made for another architecture and
    `SurgeryError`, naming the first group that disagrees, when removed is not equal to masked.

    >>> small = sc.prune(model, plan)
    >>> sum(tensor.numel() for tensor in small.parameters()) < sum(tensor.numel() for tensor in model.parameters())
    True
    """
    if groups is None:
        groups = find_groups(model, example_for(model, plan.input_shape))
    if groups.fingerprint() != plan.fingerprint:
        raise PlanError(
            "the plan was made for another architecture: the model's groups, shapes or input size differ; "
            "make a plan for this model with `secateur plan` or sc.make_plan"
        )
    small = cut(model, groups, plan)
    prove(model, small, groups, plan, lambda part: cut(model, groups, part))
    return small
