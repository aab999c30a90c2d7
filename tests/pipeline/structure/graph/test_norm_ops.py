"""Normalisations: what is scaled goes with its scale, what is averaged over stays or is noted."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from timm.layers.grn import GlobalResponseNorm
from torch import Tensor, nn

from tests.pipeline.structure.graph.following import Followed, follow, of


class Normalised(nn.Module):
    """A layer with a normalisation of what it makes."""

    def __init__(self, layer: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.layer, self.norm = layer, norm

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.norm(self.layer(x))
        return found


def over(norm: nn.Module) -> Followed:
    """What is traced through a normalisation of eight channels."""
    return follow(Normalised(nn.Conv2d(3, 8, 1), norm), torch.randn(1, 3, 4, 4))


def test_each_channel_goes_with_all_that_batch_norm_knows_of_it() -> None:
    found = over(nn.BatchNorm2d(8))
    made = found.at("layer.weight", 0)
    assert len(set(made)) == 8
    for tensor in ("norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"):
        assert found.at(tensor, 0) == made
    assert not found.trace.norms
    assert not found.reason("layer.weight", 0)


def test_instance_norm_leaves_channels_free_but_not_positions() -> None:
    assert not over(nn.InstanceNorm2d(8, affine=True)).reason("layer.weight", 0)
    found = of(lambda p, q, x: F.instance_norm(p[None, :, None] + q[None, None, :]), (3,), (5,))
    assert not found.reason("p0", 0)
    assert "statistic" in found.reason("p1", 0)


@pytest.mark.parametrize("affine", [True, False])
def test_layer_norm_notes_what_it_runs_over(affine: bool) -> None:
    model = Normalised(nn.Linear(3, 8), nn.LayerNorm(8, elementwise_affine=affine))
    found = follow(model, torch.randn(1, 5, 3))
    made = found.at("layer.weight", 0)
    assert len(set(made)) == 8
    assert found.marks("norm") == set(made)
    assert list(found.trace.norms) == ["norm"]
    assert not found.reason("layer.weight", 0)
    if affine:
        assert found.at("norm.weight", 0) == found.at("norm.bias", 0) == made


def test_rms_norm_notes_it_too() -> None:
    found = follow(Normalised(nn.Linear(3, 8), nn.RMSNorm(8)), torch.randn(1, 5, 3))
    assert found.at("norm.weight", 0) == found.at("layer.weight", 0)
    assert list(found.trace.norms) == ["norm"]


def test_a_normalisation_that_no_module_knows_keeps_what_it_runs_over() -> None:
    found = of(lambda p, x: F.layer_norm(x @ p, (8,)), (2, 8))
    assert "statistic" in found.reason("p0", 1)


def test_layer_norm_of_the_last_dimension_leaves_others_free() -> None:
    found = of(lambda p, x: F.layer_norm(p, (8,)), (4, 8))
    assert not found.reason("p0", 0)
    assert "statistic" in found.reason("p0", 1)


@pytest.mark.parametrize("groups", [2, 4, 8])
def test_groups_of_group_norm_go_as_a_whole(groups: int) -> None:
    found = over(nn.GroupNorm(groups, 8))
    made = found.at("layer.weight", 0)
    size = 8 // groups
    assert [made.index(component) for component in made] == [channel // size * size for channel in range(8)]
    assert found.at("norm.weight", 0) == made
    assert not found.trace.norms


def test_group_norm_with_one_group_is_over_all_channels() -> None:
    found = over(nn.GroupNorm(1, 8))
    assert len(set(found.at("layer.weight", 0))) == 8
    assert list(found.trace.norms) == ["norm"]


def test_group_norm_takes_its_statistics_over_space() -> None:
    found = of(lambda p, x: F.group_norm(p[None, :, :], 3), (6, 5))
    assert "statistic" in found.reason("p0", 1)
    assert not found.reason("p0", 0)


@pytest.mark.parametrize("last", [True, False])
def test_response_normalisation_is_noted_and_is_no_residual_stream(last: bool) -> None:
    norm = GlobalResponseNorm(8, channels_last=last)
    if last:
        found = follow(Normalised(nn.Linear(3, 8), norm), torch.randn(1, 5, 5, 3))
    else:
        found = over(norm)
    made = found.at("layer.weight", 0)
    assert found.at("norm.weight", 0) == found.at("norm.bias", 0) == made
    assert len(set(made)) == 8
    assert list(found.trace.norms) == ["norm"]
    assert not found.marks("width")
    assert not found.reason("layer.weight", 0)
