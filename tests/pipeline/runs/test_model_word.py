"""Models by the word that a user has for them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from timm.models import save_for_hf

import secateur as sc
from secateur.core.errors import ModelError, SecateurError
from secateur.pipeline.models.create import create_model
from secateur.pipeline.models.spec import ModelSpec
from secateur.pipeline.runs.model_word import spec_of_word
from tests.pipeline.models.small import SMALL, VIT, same_weights, small_vit, write_safetensors


def test_a_name_has_timms_weights_or_those_of_a_file() -> None:
    assert spec_of_word("resnet18") == ModelSpec("resnet18", pretrained=True)
    assert spec_of_word("resnet18", "best.pth", ema=True) == ModelSpec("resnet18", "best.pth", ema=True)
    assert spec_of_word("mine.nets:unet", "best.pth") == ModelSpec("mine.nets:unet", "best.pth")
    assert spec_of_word("mine.nets:unet") == ModelSpec("mine.nets:unet")


def test_a_checkpoint_names_its_architecture(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = timm.create_model("test_vit", num_classes=3)
    state = model.state_dict()
    torch.save({"arch": "test_vit", "state_dict": {}, "state_dict_ema": state}, tmp_path / "best.pth.tar")
    with caplog.at_level(logging.INFO, "secateur"):
        spec = spec_of_word(str(tmp_path / "best.pth.tar"))
        assert spec == ModelSpec("test_vit", str(tmp_path / "best.pth.tar"))
        assert same_weights(create_model(spec), model)
    assert caplog.text.count("state_dict_ema is taken") == 1


def test_folders_of_the_hub_and_of_save_say_all_about_their_models(tmp_path: Path) -> None:
    model = small_vit()
    save_for_hf(model, tmp_path / "hub", model_config={"model_args": SMALL})
    sc.save(model, tmp_path / "saved")
    for name in ("hub", "saved"):
        spec = spec_of_word(str(tmp_path / name))
        assert spec.name == VIT
        assert same_weights(create_model(spec), model)


def _checkpoint(folder: Path) -> str:
    return str(write_safetensors(small_vit().state_dict(), folder / "x.safetensors"))


def _pruned(folder: Path) -> str:
    model = small_vit()
    groups = sc.find_groups(model, torch.zeros(1, 3, 16, 16))
    scores = sc.score(model, groups, [], "magnitude")
    sc.save(sc.prune(model, sc.make_plan(groups, scores, sc.Budget(macs=0.7)), groups), folder)
    return str(folder)


def _own(folder: Path) -> str:
    sc.save(torch.nn.Linear(2, 2), folder)
    return str(folder)


def _run(folder: Path) -> str:
    (folder / "recipe.yaml").touch()
    return str(folder)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (lambda folder: "resnet81", r"timm .* has no model 'resnet81'; did you mean"),
        (lambda folder: str(folder / "absent"), "absent does not exist: give a timm name"),
        (lambda folder: str(folder / "absent.pth"), r"absent\.pth does not exist"),
        (_checkpoint, "does not say which architecture its weights are for: give the timm name or the import path"),
        (lambda folder: str(folder), "has neither config.json nor structure.json"),
        (_pruned, "was cut already: give the dense model"),
        (_own, "is a torch.nn.modules.linear.Linear: give the import path of a function"),
        (_run, "is a run: bring it up to date with"),
    ],
)
def test_any_other_word_is_one_sentence(word: Callable[[Path], str], message: str, tmp_path: Path) -> None:
    with pytest.raises(SecateurError, match=message):
        spec_of_word(word(tmp_path))


def test_weights_go_with_a_name_alone(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has weights of its own, but other\.pth was given too"):
        spec_of_word(_checkpoint(tmp_path), "other.pth")
