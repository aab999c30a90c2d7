"""Ridge compensation: against scikit-learn's ridge regression, and on planted redundancy."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from torch import Tensor, nn

from secateur.pipeline.errors import DataError, PlanError
from secateur.pipeline.plan.plan import plan_from_kept
from secateur.pipeline.recover.compensate import compensate, fold
from secateur.pipeline.recover.statistics import Moments, input_moments
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.surgery import prune

Batches = list[tuple[Tensor, Tensor]]


def moments_of(x: Tensor) -> Moments:
    x = x.double()
    return Moments(len(x), x.sum(0), x.T @ x)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), st.integers(1, 5), st.integers(0, 999), st.sampled_from([1e-6, 1e-3, 0.1]))
def test_folding_is_a_ridge_regression_of_the_removed_on_the_kept(d: int, out: int, seed: int, ridge: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(60, d, generator=generator) @ torch.randn(d, d, generator=generator) + 1.0
    stays = torch.rand(d, generator=generator) < 0.5
    stays[0], stays[1] = True, False
    layer = nn.Linear(d, out)
    weight, shift = fold(layer, stays, moments_of(x), ridge)
    s, r = x[:, stays].double().numpy(), x[:, ~stays].double().numpy()
    strength = ridge * s.var(0).mean() * len(x)  # scikit-learn's penalty is on the sum over samples
    fit = Ridge(alpha=strength).fit(s, r)
    gone = layer.weight.detach().double()[:, ~stays]
    torch.testing.assert_close(
        weight, layer.weight.detach().double()[:, stays] + gone @ torch.from_numpy(fit.coef_.reshape(r.shape[1], -1)),
        rtol=1e-5, atol=1e-7,
    )  # fmt: skip
    torch.testing.assert_close(shift, gone @ torch.from_numpy(fit.intercept_.reshape(-1)), rtol=1e-5, atol=1e-7)


def test_duplicated_units_are_replaced_without_any_loss(vit: nn.Module, vit_groups: Groups, batches: Batches) -> None:
    mlp = vit.get_submodule("blocks.0.mlp")
    with torch.no_grad():
        mlp.fc1.weight[96:] = mlp.fc1.weight[:96]
        mlp.fc1.bias[96:] = mlp.fc1.bias[:96]
    plan = plan_from_kept(vit_groups, {"blocks.0.mlp.hidden": range(96)})
    small = prune(vit, plan, vit_groups)
    repaired = compensate(small, vit, plan, batches, ridge=1e-9, groups=vit_groups)
    x = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        assert (small(x) - vit(x)).abs().max() > 0.05
        torch.testing.assert_close(repaired(x), vit(x), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    "kept",
    [
        {"blocks.0.mlp.hidden": range(0, 192, 2)},
        {"blocks.1.attn.heads": [0, 2]},
        {"blocks.1.attn.v": [h * 16 + d for h in range(3) for d in range(8)]},
        {"blocks.0.attn.heads": []},
        {"blocks.1.mlp.hidden": []},
    ],
)
def test_the_layers_output_gets_closer_on_the_calibration_images(
    kept: dict[str, range], vit: nn.Module, vit_groups: Groups, batches: Batches
) -> None:
    plan = plan_from_kept(vit_groups, kept)
    small = prune(vit, plan, vit_groups)
    repaired = compensate(small, vit, plan, batches, groups=vit_groups)
    block = next(iter(kept)).rsplit(".", 1)[0]

    def outputs(model: nn.Module) -> Tensor:
        found: list[Tensor] = []
        handle = model.get_submodule(block).register_forward_hook(lambda _m, _a, out: found.append(out.detach()))
        for x, _ in batches:
            model(x)
        handle.remove()
        return torch.cat(found)

    before, after = ((outputs(m) - outputs(vit)).square().mean().item() for m in (small, repaired))
    assert after < 0.9 * before
    assert all(torch.equal(a, b) for a, b in zip(small.parameters(), prune(vit, plan).parameters(), strict=True))


def test_moments_do_not_depend_on_the_batches(vit: nn.Module, batches: Batches) -> None:
    name = "blocks.0.mlp.fc2"
    merged = [(torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches]))]
    one, other = input_moments(vit, [name], batches)[name], input_moments(vit, [name], merged)[name]
    assert one.count == other.count == 12 * 17
    torch.testing.assert_close(one.covariance, other.covariance, rtol=1e-5, atol=1e-7)


def test_fewer_samples_than_units_still_give_a_finite_repair(vit: nn.Module, vit_groups: Groups) -> None:
    plan = plan_from_kept(vit_groups, {"blocks.0.mlp.hidden": range(150)})
    one_image = [(torch.randn(1, 3, 16, 16), torch.zeros(1, dtype=torch.long))]
    for ridge in (0.0, 1e-3):
        repaired = compensate(prune(vit, plan), vit, plan, one_image, ridge=ridge)
        assert all(torch.isfinite(p).all() for p in repaired.parameters())


def test_bad_input_is_refused(vit: nn.Module, vit_groups: Groups, batches: Batches) -> None:
    plan = plan_from_kept(vit_groups, {"blocks.0.mlp.hidden": range(150)})
    with pytest.raises(PlanError, match="ridge is -1"):
        compensate(prune(vit, plan), vit, plan, batches, ridge=-1)
    with pytest.raises(DataError, match="no images"):
        compensate(prune(vit, plan), vit, plan, [])
