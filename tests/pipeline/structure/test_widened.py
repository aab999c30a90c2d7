"""A small model in the dense one's shapes: it answers as the small one does, and has nothing of what is gone."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from secateur.core.errors import SurgeryError
from secateur.kernels.ragged_attention import RaggedAttention
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.outputs import relative_difference
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import cut
from secateur.pipeline.structure.widened import widened
from tests.conftest import make_vit
from tests.pipeline.structure.test_surgery import random_plan

VITS = {"vit": {}, "normalised queries and keys": {"qk_norm": True}, "layer scale": {"init_values": 0.5}}
CNNS = ("resnet10t",)


def model_of(name: str) -> nn.Module:
    if name in VITS:
        return make_vit(**VITS[name])
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=5).eval()


def repaired(model: nn.Module) -> nn.Module:
    """The model with other numbers in every weight and bias, as a repair leaves them."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + 0.1 * torch.randn_like(parameter)).add_(0.01 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("name", [*VITS, *CNNS])
def test_it_answers_as_the_small_model_does(name: str) -> None:
    model, size = model_of(name), 16 if name in VITS else 64
    groups = find_groups(model, torch.zeros(1, 3, size, size), verify=False)
    plan = random_plan(groups, 0, 0.6)
    small = repaired(cut(model, groups, plan)).eval()
    wide = widened(small, model, groups, plan)
    x = torch.randn(3, 3, size, size)
    with torch.no_grad():
        assert relative_difference([wide(x)], [small(x)]) < 1e-4
        assert relative_difference([model(x)], [small(x)]) > 0.1
    for name, tensor in model.state_dict().items():
        narrowed = name in groups.norms or name.rpartition(".")[0] in groups.norms
        assert narrowed or wide.state_dict()[name].shape == tensor.shape


def test_what_is_gone_is_zero_and_what_is_left_is_the_small_models(vit: nn.Module, vit_groups: Groups) -> None:
    plan = plan_from_kept(vit_groups, {"blocks.0.mlp.hidden": range(8, 192), "blocks.1.mlp.hidden": []})
    small = repaired(cut(vit, vit_groups, plan))
    wide = widened(small, vit, vit_groups, plan)
    first, last = wide.get_parameter("blocks.0.mlp.fc1.weight"), wide.get_parameter("blocks.0.mlp.fc2.weight")
    assert not first[:8].any() and not last[:, :8].any()
    assert torch.equal(first[8:], small.get_parameter("blocks.0.mlp.fc1.weight"))
    assert torch.equal(last[:, 8:], small.get_parameter("blocks.0.mlp.fc2.weight"))
    assert not wide.get_parameter("blocks.1.mlp.fc2.weight").any()  # the branch is a constant, whose bias stays
    assert torch.equal(wide.get_parameter("blocks.1.mlp.fc2.bias"), small.get_parameter("blocks.1.mlp.fc2.bias"))


def test_a_change_that_no_weight_tells_is_refused(vit: nn.Module, vit_groups: Groups) -> None:
    plan = plan_from_kept(vit_groups, {"blocks.0.attn.heads": [0, 2]})
    small = cut(vit, vit_groups, plan)
    attention = small.get_submodule("blocks.0.attn")
    assert isinstance(attention, RaggedAttention)
    attention.scale *= 2
    with pytest.raises(SurgeryError, match=r"answers differently, by .* is allowed: plan in one round"):
        widened(small, vit, vit_groups, plan)
