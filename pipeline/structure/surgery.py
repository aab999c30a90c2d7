"""Surgery: a new, smaller module with the removed units' parameters cut away, proven equal to the masked model."""

from __future__ import annotations

import logging
from dataclasses import replace

from torch import nn

from secateur.core.errors import PlanError
from secateur.pipeline.structure.codegen.calls import called
from secateur.pipeline.structure.codegen.written_module import WrittenModule
from secateur.pipeline.structure.cutting import cut, example_for
from secateur.pipeline.structure.equivalence import Verification, verify_equivalence
from secateur.pipeline.structure.feature_widths import update_feature_widths
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.history import plan_of
from secateur.pipeline.structure.plan import Plan, check_fits

__all__ = ["cut", "example_for", "plan_of", "prune", "verify"]

_log = logging.getLogger(__name__)


def prune(model: nn.Module, plan: Plan, groups: Groups | None = None) -> nn.Module:
    """A new module without the units that `plan` drops; `model` is left untouched.

    The result is verified before it is returned (`verify`); groups of which a mistake would not have been seen are
    logged as a warning, and so is that the size of the inputs is fixed now (`Groups.one_size`). Raises `PlanError` when
    the plan was made for another architecture and `SurgeryError`, naming the first group that disagrees, when removed
    is not equal to masked.

    >>> small = sc.prune(model, plan)
    >>> sum(tensor.numel() for tensor in small.parameters()) < sum(tensor.numel() for tensor in model.parameters())
    True
    """
    groups = _groups_for(model, plan, groups)
    small = cut(model, groups, plan)
    update_feature_widths(small, model, groups.inputs)
    for found in verify_equivalence(model, small, groups, plan).unverifiable:
        _log.warning("not verifiable: %s: %s", found.name, found.reason)
    fixed = [called(name) for name in groups.one_size if isinstance(small.get_submodule(name), WrittenModule)]
    if fixed:
        _log.warning(
            "the size of the inputs is fixed now, since the code of %s was taken over for %s: to use another one, find "
            "the groups and prune with an example of it",
            ", ".join(fixed),
            groups.inputs,
        )
    return small


def verify(small: nn.Module, dense: nn.Module, plan: Plan, groups: Groups | None = None) -> Verification:
    """Shows that `small` computes what `dense` does with the units that `plan` drops at zero.

    Both run with the same order-one weights, made from the dense ones, so that no layer hides behind a scale that is
    zero or tiny; and for each group the effect of a planted mistake is shown. Raises `SurgeryError` naming the first
    group that disagrees, and `PlanError` when the plan was made for another architecture. A model that was trained,
    repaired or changed after `prune` is another one, and disagrees.

    >>> found = sc.verify(sc.prune(model, plan), model, plan)
    >>> found.difference <= found.tolerance, found.unverifiable
    (True, ())
    """
    return verify_equivalence(dense, small, _groups_for(dense, plan, groups), plan)


def _groups_for(model: nn.Module, plan: Plan, groups: Groups | None) -> Groups:
    """The groups of a model, checked against those that a plan was made for."""
    if groups is None:
        groups = replace(find_groups(model, example_for(model, plan.inputs)), inputs=plan.inputs)
    if groups.fingerprint() != plan.fingerprint:
        raise PlanError(
            "the plan was made for another architecture: the model's groups, shapes or input size differ; "
            "make a plan for this model with `secateur plan` or sc.make_plan"
        )
    check_fits(plan, groups)
    return groups
