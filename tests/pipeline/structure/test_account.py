"""Every dimension of every parameter is in a group, or is said to be fixed, an input or an output."""

from __future__ import annotations

from dataclasses import replace

import pytest
import timm
import torch
from torch import Tensor, nn

from secateur.pipeline.structure.account import unaccounted
from secateur.pipeline.structure.find import find_groups
from tests.later import mostly_nightly

FAMILIES = ("test_vit", "test_resnet", "test_convnext", "test_efficientnet", "test_mambaout", "test_coatnet")


@pytest.mark.parametrize("name", mostly_nightly(FAMILIES, FAMILIES[:3]))
def test_every_dimension_of_a_family_is_accounted_for(name: str) -> None:
    model = timm.create_model(name, num_classes=7)
    groups = find_groups(model, torch.randn(1, *model.pretrained_cfg["input_size"]), verify=False)
    assert unaccounted(groups) == ()


class Looked(nn.Module):
    """A hidden width that the code insists on."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.last = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x)
        if x.shape[-1] != 6:
            raise ValueError("six, please")
        out: Tensor = self.last(self.two(x).relu())
        return out


def test_what_a_trial_fixes_keeps_its_reason() -> None:
    groups = find_groups(Looked().eval(), torch.randn(1, 4))
    assert [group.units for group in groups] == [5]
    assert unaccounted(groups) == ()
    assert "six, please" in groups.ungrouped["one.weight", 0] and "six, please" in groups.ungrouped["two.weight", 1]


def test_a_group_that_is_lost_is_missed() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).eval()
    groups = find_groups(model, torch.randn(1, 4), verify=False)
    assert unaccounted(groups) == ()
    lost = groups[0]
    less = replace(groups, groups=tuple(group for group in groups if group is not lost))
    assert set(unaccounted(less)) == {(part.tensor, part.dim) for part in lost.slices}


def test_a_dimension_of_which_a_part_is_units_only_needs_a_reason_too() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    groups = find_groups(model, torch.randn(1, 4), verify=False)
    parts = tuple(replace(part, units=(*part.units[:-1], -1)) for part in groups[0].slices)
    less = replace(groups, groups=(replace(groups[0], slices=parts),))
    assert set(unaccounted(less)) == {("0.weight", 0), ("0.bias", 0), ("2.weight", 1)}
