"""All groups of a model in its order, each layer of it in some group or said to be fixed, and the model left alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import timm
import torch
from timm.layers import Mlp
from torch import Tensor, nn

from secateur.benchmarks.flops import count_macs
from secateur.core.errors import ModelError
from secateur.pipeline.structure.find import find_fixed, find_groups
from secateur.pipeline.structure.groups import Groups
from tests.conftest import make_vit
from tests.counting import torch_macs
from tests.signatures import towers, towers_inputs


def test_groups_come_in_the_order_in_which_the_model_names_their_tensors(vit_groups: Groups, vit: nn.Module) -> None:
    order = {name: index for index, (name, _) in enumerate(vit.named_parameters())}
    firsts = [min(order[part.tensor] for part in group.slices) for group in vit_groups]
    assert firsts == sorted(firsts)
    assert [group.kind for group in vit_groups] == ["width", *(["head", "v_dim", "qk_dim", "mlp_hidden"] * 2)]


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (make_vit, (3, 16, 16)),
        (lambda: timm.create_model("test_resnet", num_classes=5), (3, 32, 32)),
        (lambda: timm.create_model("test_nfnet", num_classes=5), (3, 32, 32)),
    ],
)
def test_the_model_is_left_as_it_was_and_its_cost_is_torchs_own_count(
    build: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    model = build().train()
    before = copy.deepcopy(model.state_dict())
    groups = find_groups(model, torch.zeros(1, *shape))
    assert all(module.training for module in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert groups.macs() == pytest.approx(torch_macs(model.eval(), torch.zeros(1, *shape)))
    if not any("gain" in name for name, _ in model.named_parameters()):  # those of convolutions that compute weights
        assert groups.params() == sum(parameter.numel() for parameter in model.parameters())
    assert groups.inputs.shape == shape


def test_only_the_hidden_units_of_a_branch_around_a_sum_may_all_go() -> None:
    groups = find_groups(make_vit(), torch.zeros(1, 3, 16, 16), verify=False)
    assert {group.kind: group.min_units for group in groups} == {
        "width": 1,
        "head": 0,
        "qk_dim": 1,
        "v_dim": 1,
        "mlp_hidden": 0,
    }

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(6, 8), nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.two(self.one(x))
            return out

    assert [group.min_units for group in find_groups(Plain().eval(), torch.zeros(1, 6), verify=False)] == [1]
    assert Mlp(8, 8)(torch.zeros(1, 8)).shape == (1, 8)


class Whole(nn.Module):
    """Its only hidden units are shares of one another, or its code wants all of them."""

    def __init__(self, shares: bool = True) -> None:
        super().__init__()
        self.one, self.two, self.shares = nn.Linear(6, 8), nn.Linear(8, 5), shares

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.one(x)
        if not self.shares and hidden.shape[-1] != 8:
            raise ValueError("eight units were expected")
        out: Tensor = self.two(hidden.softmax(dim=-1) if self.shares else hidden)
        return out


@pytest.mark.parametrize(
    ("shares", "name", "reason"),
    [(True, "one.channels", "softmax runs over it"), (False, "hidden", "eight units were expected")],
)
def test_what_is_fixed_is_told_also_where_nothing_can_be_removed(shares: bool, name: str, reason: str) -> None:
    (fixed,) = find_fixed(Whole(shares).eval(), torch.zeros(1, 6))
    assert (fixed.name, fixed.units) == (name, 8)
    assert reason in fixed.reason


def test_what_is_fixed_is_what_the_groups_say(vit: nn.Module, vit_groups: Groups) -> None:
    assert find_fixed(vit, torch.zeros(1, 3, 16, 16)) == vit_groups.fixed
    assert find_fixed(nn.Sequential(nn.Linear(6, 5)).eval(), torch.zeros(1, 6)) == ()


def test_of_nothing_that_can_be_removed_a_reason_is_told() -> None:
    with pytest.raises(ModelError, match=r"nothing can be removed from this Whole: .* cannot, since"):
        find_groups(Whole().eval(), torch.zeros(1, 6))
    with pytest.raises(ModelError, match="it has no layer between two others"):
        find_groups(nn.Sequential(nn.Linear(6, 5)).eval(), torch.zeros(1, 6))


def test_of_nothing_that_can_be_removed_the_reasons_are_told_that_keep_most() -> None:
    widths = (6, 4, 32, 16, 5)
    layers = [part for pair in pairwise(widths) for part in (nn.Linear(*pair), nn.Softmax(1))]
    told = "2.channels cannot, since 3: softmax runs over it; 4.channels cannot, since 5: softmax runs over it"
    with pytest.raises(ModelError, match=f"this Sequential: {told}; find_fixed tells the rest \\(1\\)$"):
        find_groups(nn.Sequential(*layers[:-1]).eval(), torch.zeros(1, 6))


def test_inputs_by_keyword_by_position_and_nested_give_the_same_groups_and_costs() -> None:
    model = towers()
    groups = find_groups(model, towers_inputs())
    assert {group.name: group.units for group in groups} == {
        "tokens.channels": 16,
        "conv.0.channels": 16,
        "conv.3.channels": 24,
        "hidden": 32,
    }
    assert groups.unverifiable == ()
    convolutions = 16 * 3 * 9 * 64 + 24 * 16 * 9 * 16
    assert groups.macs() == convolutions + 24 * 12 + 5 * 16 * 32 + 32 * 12
    assert groups.macs() == count_macs(model, towers_inputs(1)).macs
    other = towers_inputs(3)
    other["ids"] = torch.full_like(other["ids"], 29)
    assert find_groups(model, other, verify=False).fingerprint() == groups.fingerprint()

    class ByPosition(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, words: dict[str, Tensor], *images: Tensor) -> tuple[Tensor, ...]:
            found = self.inner(images[0], **words, scale=[images[1]])
            return found.image, found.similarity

    words = {key: towers_inputs()[key] for key in ("ids", "mask")}
    found = find_groups(ByPosition(), (words, towers_inputs()["pixels"], torch.tensor(2.0)))
    assert {group.name for group in found} == {f"inner.{group.name}" for group in groups}


def test_a_model_that_returns_no_tensor_is_refused() -> None:
    class Words(nn.Linear):
        def forward(self, input: Tensor) -> Any:
            return {"label": "cat"}

    with pytest.raises(ModelError, match="returns a dict that holds no tensor"):
        find_groups(Words(3, 3), torch.zeros(1, 3))
