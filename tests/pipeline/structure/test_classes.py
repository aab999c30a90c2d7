"""Specialised models: the logits of the kept classes are those of the dense model, before and after surgery."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from secateur.core.errors import ModelError, PlanError, SurgeryError
from secateur.pipeline.models.create import create_model
from secateur.pipeline.structure import classes as module
from secateur.pipeline.structure.classes import cut_classifier, specialised
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.history import Classes, classes_of
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.storage import load, save
from secateur.pipeline.structure.surgery import prune

SMALL = {"img_size": 32, "embed_dim": 32, "depth": 1, "num_heads": 2, "num_classes": 7}
SWIN = {"img_size": 32, "patch_size": 4, "window_size": 4, "embed_dim": 16, "depths": (1, 1), "num_heads": (1, 2)}
MODELS: list[tuple[str, dict[str, Any]]] = [
    ("vit_tiny_patch16_224", SMALL),
    ("deit_tiny_distilled_patch16_224", SMALL),
    ("swin_tiny_patch4_window7_224", {**SWIN, "num_classes": 7}),
    ("resnet18", {"num_classes": 7, "channels": (8, 8, 8, 8)}),
    ("mobilenetv3_small_050", {"num_classes": 7}),
]
CHOSEN = Classes(7, (5, 0, 3), ("f", "a", "d"))


@pytest.mark.parametrize(("name", "kwargs"), MODELS, ids=[name for name, _ in MODELS])
def test_the_kept_logits_are_the_same_and_in_order(name: str, kwargs: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = timm.create_model(name, **kwargs)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    small = specialised(model, CHOSEN)
    assert model.training and small.training
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected, found = model.eval()(x), small.eval()(x)
    torch.testing.assert_close(found, expected[:, [5, 0, 3]])
    assert small.num_classes == 3
    assert classes_of(small) == CHOSEN
    assert classes_of(model) is None
    assert model.num_classes == 7
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_specialised_model_is_pruned_saved_and_loaded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = specialised(create_model("vit_tiny_patch16_224", **SMALL), CHOSEN)
    groups = find_groups(model, torch.zeros(1, 3, 32, 32))
    assert groups.shapes["head.weight"] == (3, 32)
    small = prune(model, plan_from_kept(groups, {"blocks.0.mlp.hidden": list(range(40))}), groups)
    save(small, tmp_path / "small")
    again = load(tmp_path / "small")
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(again(x), small.eval()(x))
    assert again(x).shape == (2, 3)
    assert classes_of(again) == CHOSEN
    save(model, tmp_path / "dense")
    assert classes_of(load(tmp_path / "dense")) == CHOSEN


def test_a_logit_that_differs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(model: nn.Module, classes: Classes) -> nn.Module:
        return cut_classifier(model, Classes(7, (5, 0, 4), ("f", "a", "e")))

    monkeypatch.setattr(module, "cut_classifier", wrong)
    with pytest.raises(SurgeryError, match="has changed the logits"):
        specialised(timm.create_model("vit_tiny_patch16_224", **SMALL), CHOSEN)


def test_classes_and_models_that_do_not_fit_are_refused() -> None:
    model = timm.create_model("vit_tiny_patch16_224", **SMALL)
    for kept, words in [((1,), "name two or more"), ((1, 1), "each of them once"), ((1, 7), "0 to 6, but 7 was asked")]:
        with pytest.raises(PlanError, match=words):
            Classes(7, kept, tuple("abc"[: len(kept)]))
    with pytest.raises(ModelError, match="has 7 classes, but its classifier is to be cut from 9"):
        cut_classifier(model, Classes(9, (0, 1), ("a", "b")))
    model.head = nn.Sequential(model.head)
    with pytest.raises(ModelError, match="timm names head as the classifier of a VisionTransformer"):
        cut_classifier(model, CHOSEN)
