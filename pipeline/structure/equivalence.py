"""The proof of a surgery: removing units gives what masking them in the dense model gives, and a mistake would show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import nn

from secateur.core.errors import SurgeryError
from secateur.pipeline.structure.canonical import canonical
from secateur.pipeline.structure.comparison import MARGIN, Comparison, compare
from secateur.pipeline.structure.groups import Groups, Unverifiable
from secateur.pipeline.structure.locate import wrong_code, wrong_cut, wrong_tensor
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.structure.verification_weights import verification_weights


@dataclass(frozen=True)
class Verification:
    """What was shown of a small model: with order-one weights it computes what the masked dense model computes.

    `difference` is the largest one between their outputs, `tolerance` what is allowed, both relative to the outputs'
    scale; so is `sensitivity`, by group: how far the least visible of its readers would move the outputs if it took the
    wrong units. The groups `unverifiable` do not move them enough for a mistake to be seen.
    """

    difference: float
    tolerance: float
    sensitivity: Mapping[str, float]
    unverifiable: tuple[Unverifiable, ...]


def verify_equivalence(model: nn.Module, small: nn.Module, groups: Groups, plan: Plan) -> Verification:
    """Shows that `small` is `model` without the units that `plan` drops.

    Both are compared with the same order-one weights (`verification_weights`). Raises `SurgeryError`, naming the first
    group that disagrees, when the outputs differ by more than the tolerance (float32 and half precision: 1e-4 of their
    scale), or when tensors that have other values in the comparison are not those of the dense model.
    """
    model = canonical(model)
    weights = verification_weights(model)
    wrong = wrong_tensor(model, small, groups, plan, weights.values)
    if wrong is not None:
        raise SurgeryError(_of_tensor(*wrong))
    comparison = compare(model, small, groups, plan, weights)
    if not comparison.agrees:
        raise SurgeryError(_disagreement(model, small, groups, plan, comparison))
    sensitivity = comparison.sensitivity()
    hidden = unverifiable(plan.kept, sensitivity, MARGIN * comparison.tolerance)
    return Verification(comparison.difference, comparison.tolerance, sensitivity, hidden)


def unverifiable(names: Iterable[str], sensitivity: Mapping[str, float], enough: float) -> tuple[Unverifiable, ...]:
    """The groups among `names` of which no mistake would move the outputs by `enough`, with the reason."""
    found = []
    for name in names:
        if name not in sensitivity:
            found.append(Unverifiable(name, "nothing of it is left that could be read wrongly"))
        elif not sensitivity[name] >= enough:
            reason = f"reading wrong units of it moves the outputs by {sensitivity[name]:.1e} of their scale only"
            found.append(Unverifiable(name, reason))
    return tuple(found)


def _disagreement(model: nn.Module, small: nn.Module, groups: Groups, plan: Plan, found: Comparison) -> str:
    """What is wrong, in a sentence that begins with the group."""
    told = f"outputs differ by {found.difference:.1e} of their scale, allowed is {found.tolerance:.0e}"
    wrong = wrong_tensor(model, small, groups, plan)
    if wrong is not None:
        return f"{_of_tensor(*wrong)} ({told})"
    group = wrong_cut(model, groups, plan, found.dtype)
    if group is not None:
        return (
            f"removing from the group {group!r} is not equal to masking it: {told}; "
            "leave the group out of the plan and report the model"
        )
    group = wrong_code(model, small, groups, plan, found.dtype)
    if group is not None:
        return (
            f"the modules around the group {group!r} compute something else than what surgery leaves there: {told}; "
            "prune the model again"
        )
    return f"removing is not equal to masking: {told}, though each group alone agrees; report the model and the plan"


def _of_tensor(group: str, tensor: str) -> str:
    """What to say of a tensor that is not the dense one's."""
    where = f"the group {group!r} disagrees" if group else "the models disagree"
    return (
        f"{where}: {tensor} is not what the plan leaves of the dense model's; "
        "compare a model as `prune` returns it, before it is trained or changed, with the model that it was cut from"
    )
