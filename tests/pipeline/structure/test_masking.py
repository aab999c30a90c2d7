"""The dense model with removed units at zero, with its real weights and with those of a comparison."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.masking import KeptNorm, masked
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.verification_weights import verification_weights


def test_masking_zeroes_exactly_the_removed_slices(vit: nn.Module, vit_groups: Groups) -> None:
    copied = masked(vit, vit_groups, plan_from_kept(vit_groups, {"blocks.0.mlp.hidden": range(1, 192)})).state_dict()
    changed = {name: (value != vit.state_dict()[name]) for name, value in copied.items()}
    assert changed["blocks.0.mlp.fc1.weight"].nonzero()[:, 0].unique().tolist() == [0]
    assert changed["blocks.0.mlp.fc2.weight"].nonzero()[:, 1].unique().tolist() == [0]
    assert {name for name, where in changed.items() if where.any()} == {
        "blocks.0.mlp.fc1.weight",
        "blocks.0.mlp.fc1.bias",
        "blocks.0.mlp.fc2.weight",
    }


def test_only_what_changes_is_copied(vit: nn.Module, vit_groups: Groups) -> None:
    copied = masked(vit, vit_groups, plan_from_kept(vit_groups, {"blocks.0.mlp.hidden": range(1, 192)}))
    own = {
        name for name, tensor in copied.named_parameters() if tensor.data_ptr() != vit.get_parameter(name).data_ptr()
    }
    assert own == {"blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc1.bias", "blocks.0.mlp.fc2.weight"}


def test_a_half_precision_model_stays_one(vit: nn.Module, vit_groups: Groups) -> None:
    copied = masked(vit.half(), vit_groups, plan_from_kept(vit_groups, {"blocks.0.mlp.hidden": [1]}))
    assert {parameter.dtype for parameter in copied.parameters()} == {torch.float16}


@pytest.mark.parametrize("kind", [lambda: nn.LayerNorm(8), lambda: nn.GroupNorm(1, 8), lambda: nn.RMSNorm(8)])
def test_with_the_weights_of_a_comparison_norms_count_the_units_that_stay(kind: type[nn.Module]) -> None:
    class Stream(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm, self.last = nn.Linear(6, 8), kind(), nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.last(self.norm(self.first(x)))
            return out

    torch.manual_seed(0)
    model = Stream().eval()
    groups = find_groups(model, torch.zeros(1, 6), verify=False)
    plan = plan_from_kept(groups, {groups[0].name: [0, 3, 6]})
    weights = verification_weights(model)
    copied = masked(model, groups, plan, weights)
    norm = copied.get_submodule("norm")
    assert isinstance(norm, KeptNorm)
    x = torch.zeros(2, 8)
    x[:, [0, 3, 6]] = torch.randn(2, 3)
    narrow = kind()
    narrow.weight.data = weights.values["norm.weight"]
    expected = torch.zeros(2, 8)
    values = x[:, [0, 3, 6]]
    if not isinstance(narrow, nn.RMSNorm):
        values = values - values.mean(1, keepdim=True)
    eps = narrow.eps if narrow.eps is not None else torch.finfo(torch.float32).eps
    values = values / (values.square().mean(1, keepdim=True) + eps).sqrt() * narrow.weight[[0, 3, 6]]
    expected[:, [0, 3, 6]] = values + (0 if isinstance(narrow, nn.RMSNorm) else weights.values["norm.bias"][[0, 3, 6]])
    torch.testing.assert_close(norm(x), expected, rtol=1e-4, atol=1e-5)
