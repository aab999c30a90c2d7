"""timm's own functions on a pruned model: new heads, features and what it tells of their widths."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from secateur.core.input_spec import InputSpec
from secateur.pipeline.structure.cutting import cut
from secateur.pipeline.structure.feature_widths import update_feature_widths
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.plan import Plan, plan_from_kept
from secateur.pipeline.structure.storage import load, save
from secateur.pipeline.structure.surgery import prune
from tests.later import mostly_nightly

SMALL_SWIN = {"img_size": 32, "window_size": 4, "embed_dim": 12, "depths": (1, 1), "num_heads": (2, 2)}
FAMILIES: dict[str, dict[str, Any]] = {
    "test_vit": {"img_size": 32},
    "test_resnet": {},
    "test_convnext": {},
    "test_efficientnet": {},
    "swin_tiny_patch4_window7_224": SMALL_SWIN,
}


def half(name: str) -> tuple[Any, Any, torch.Tensor, Groups, Plan]:
    torch.manual_seed(0)
    model: Any = timm.create_model(name, num_classes=7, **FAMILIES.get(name, {})).eval()
    x = torch.randn(2, 3, 32, 32)
    groups = find_groups(model, x, verify=False)
    kept = {
        g.name: [u for u in range(g.units) if u % (g.units // g.blocks) % 2 == 0] for g in groups if g.kind != "head"
    }
    plan = plan_from_kept(groups, kept)
    return model, cut(model, groups, plan), x, groups, plan


def check(small: Any, dense: Any, x: torch.Tensor) -> None:
    """What timm offers agrees with itself, before and after the classifier is made anew."""
    with torch.no_grad():
        features = small.forward_features(x)
        channels = features.shape[-1] if features.ndim == 3 or "Swin" in type(dense).__name__ else features.shape[1]
        assert small.num_features == channels < dense.num_features
        torch.testing.assert_close(small.forward_head(features), small(x))
        hidden = small.forward_head(features, pre_logits=True)
        assert small.head_hidden_size == hidden.shape[1] < dense.head_hidden_size
        stages = small.forward_intermediates(x, intermediates_only=True)
        assert [info["num_chs"] for info in small.feature_info] == [stage.shape[1] for stage in stages]
        small.reset_classifier(3)
        assert small(x).shape == (2, 3)
        small.reset_classifier(0)
        torch.testing.assert_close(small(x), hidden)


@pytest.mark.parametrize("name", mostly_nightly(FAMILIES, list(FAMILIES)[::2]))
def test_a_smaller_model_gets_a_new_head_and_tells_the_widths_of_its_features(name: str) -> None:
    model, small, x, _, plan = half(name)
    told = model.num_features, vars(model).keys()
    with pytest.raises(AssertionError):
        check(copy.deepcopy(small), model, x)  # the attributes are still those of the dense model
    update_feature_widths(small, model, plan.inputs)
    check(small, model, x)
    assert (model.num_features, vars(model).keys()) == told


def test_pruning_and_loading_bring_the_widths_up_to_date_and_keep_a_new_head(tmp_path: Path) -> None:
    model, _, x, groups, plan = half("test_resnet")
    small: Any = prune(model, plan, groups)
    check(copy.deepcopy(small), model, x)
    small.reset_classifier(3)
    save(small, tmp_path / "small")
    loaded: Any = load(tmp_path / "small")
    with torch.no_grad():
        assert torch.equal(loaded(x), small(x))
    check(loaded, model, x)


def test_stages_of_features_alone_tell_their_widths() -> None:
    torch.manual_seed(0)
    model: Any = timm.create_model("test_resnet", features_only=True).eval()
    x = torch.randn(1, 3, 32, 32)
    groups = find_groups(model, x, verify=False)
    kept = {group.name: range(0, group.units, 2) for group in groups}
    small: Any = cut(model, groups, plan := plan_from_kept(groups, kept))
    update_feature_widths(small, model, plan.inputs)
    assert small.feature_info.channels() == [stage.shape[1] for stage in small(x)]


def test_other_models_are_left_alone() -> None:
    model = nn.Sequential(nn.Linear(4, 6))
    model.num_features = 6  # type: ignore[assignment]  # nn.Module types every attribute as Tensor | Module
    update_feature_widths(nn.Sequential(nn.Linear(4, 3)), model, InputSpec.shaped((4,)))
    assert model.num_features == 6
