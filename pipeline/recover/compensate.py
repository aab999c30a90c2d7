"""Closed-form repair: the survivors take over what the removed units contributed, by ridge regression."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from secateur.pipeline.errors import PlanError
from secateur.pipeline.plan.plan import Plan
from secateur.pipeline.recover.statistics import Moments, input_moments
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.surgery import example_for

REPAIRED = ("mlp_hidden", "head", "v_dim")


def compensate(
    small: nn.Module,
    dense: nn.Module,
    plan: Plan,
    loader: Iterable[tuple[Tensor, Tensor]],
    ridge: float = 1e-3,
    groups: Groups | None = None,
) -> nn.Module:
    """A copy of `small` whose reading layers (`fc2`, `proj`) make up for the removed units, in weight and bias.

    With the dense inputs x = (s, r) of survivors and removed units, r is predicted as A (s - E s) + E r where
    A = C_rs (C_ss + ridge * mean(diag C_ss) I)^-1, and folded into the layer: W' = W_s + W_r A and
    b' = b + W_r (E r - A E s). The moments come from `dense` over `loader`, in one pass. A layer without a bias is
    repaired without the constant part. Raises `PlanError` for a negative ridge.
    """
    if not ridge >= 0:
        raise PlanError(f"ridge is {ridge}, but must be 0 or more (1e-3 is the default)")
    groups = groups or find_groups(dense, example_for(dense, plan.input_shape))
    survivors = {
        name.removesuffix(".weight"): torch.from_numpy(groups.axes[name, dim].positions(plan.kept))
        for group in groups
        if group.kind in REPAIRED
        for name, dim in {(part.tensor, part.dim) for part in group.slices if part.role == "in"}
    }
    cut = {name: stays for name, stays in survivors.items() if not stays.all()}
    moments = input_moments(dense, cut, loader)
    repaired = copy.deepcopy(small)
    for name, stays in cut.items():
        weight, shift = fold(dense.get_submodule(name), stays, moments[name], ridge)
        layer = repaired.get_submodule(name)
        with torch.no_grad():
            if isinstance(layer, nn.Linear):
                layer.weight.copy_(weight)
            if isinstance(layer.bias, Tensor):
                layer.bias.add_(shift.to(layer.bias))
    return repaired


def fold(layer: nn.Module, stays: Tensor, moments: Moments, ridge: float) -> tuple[Tensor, Tensor]:
    """The new weight `[out, kept]` of a linear layer and what its bias gains `[out]`, in float64.

    `stays` is a mask `[in]`. Where the survivors' covariance is singular, the ridge keeps the solution unique; with
    ridge 0 the pseudo-inverse is taken.
    """
    weight = layer.weight
    assert isinstance(weight, Tensor)  # for the type checker: `layer` is linear
    w = weight.detach().double()
    stays = stays.to(w.device)
    mean, covariance = moments.mean, moments.covariance
    kept, gone = w[:, stays], w[:, ~stays]
    if not stays.any():
        return kept, gone @ mean[~stays]
    within = covariance[stays][:, stays]
    across = covariance[~stays][:, stays]
    if ridge > 0:
        within = within + ridge * within.diagonal().mean().clamp_min(1e-30) * torch.eye(len(within)).to(within)
        predict = torch.linalg.solve(within, across.T).T
    else:
        predict = across @ torch.linalg.pinv(within, hermitian=True)
    return kept + gone @ predict, gone @ (mean[~stays] - predict @ mean[stays])
