"""What is captured: the values of the computation itself, as they were there, with their gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from secateur.core.errors import PlanError
from secateur.pipeline.statistics.capture import all_sites, gradients_of, observed, sum_by_unit
from secateur.pipeline.structure.groups import Groups, Site


def test_values_and_gradients_are_those_at_the_site_also_before_an_activation_in_place() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.SiLU(inplace=True), nn.Linear(4, 2))
    x = torch.randn(5, 3)
    sites = [Site("0", "output", -1, ()), Site("2", "input", -1, ())]
    with observed(model, sites) as values:
        y = model(x)
        first, second = torch.autograd.grad(y.square().sum(), [values["0", "output"], values["2", "input"]])
    z = model[0](x)
    torch.testing.assert_close(values["0", "output"], z)
    torch.testing.assert_close(values["2", "input"], nn.functional.silu(z))
    upper = 2 * y @ model[2].weight
    slope = z.sigmoid() * (1 + z * (1 - z.sigmoid()))
    torch.testing.assert_close(second, upper)
    torch.testing.assert_close(first, upper * slope)


def test_hooks_go_also_after_an_error(vit: nn.Module, vit_groups: Groups) -> None:
    sites = all_sites(vit_groups)
    assert len(sites) == sum(len(group.sites) for group in vit_groups)
    with pytest.raises(ZeroDivisionError), observed(vit, sites) as values:
        vit(torch.zeros(1, 3, 16, 16))
        assert set(values) == {(site.module, site.side) for site in sites}
        raise ZeroDivisionError
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in vit.modules())


def test_positions_are_summed_by_unit_and_those_of_none_left_out() -> None:
    site = Site("m", "input", -1, (0, -1, 1, 0))
    values: Tensor = torch.arange(8.0).reshape(2, 4)
    assert sum_by_unit(values, site, 3).tolist() == [[3.0, 2.0, 0.0], [11.0, 6.0, 0.0]]


def test_gradients_are_zero_where_a_value_is_not_used_and_a_sentence_where_they_were_off() -> None:
    x, unused = torch.randn(3, requires_grad=True), torch.randn(2, requires_grad=True)
    found = gradients_of((x**3).sum(), {("a", "output"): x, ("b", "input"): unused})
    torch.testing.assert_close(found["a", "output"], 3 * x.detach() ** 2)
    assert torch.equal(found["b", "input"], torch.zeros(2))
    off = {("b", "input"): unused.detach(), ("a", "output"): x, ("c", "output"): x.detach()}
    with pytest.raises(PlanError, match=r"^b and 1 more are computed without gradients"):
        gradients_of((x**3).sum(), off)
    with pytest.raises(PlanError, match="the model's outputs have no gradient"):
        gradients_of(x.sum().detach(), {("a", "output"): x})
