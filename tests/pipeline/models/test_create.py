"""Models made by name: weights, classes, and timm's own checkpoints."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import save_file
from torchvision.models import resnet18

from secateur.core.errors import ModelError, SecateurError
from secateur.pipeline.models.create import create_model, factory_of
from secateur.pipeline.models.inputs import check_classes, input_shape, transform_for
from secateur.pipeline.models.origin import origin_of
from secateur.pipeline.models.spec import ModelSpec, Origin
from tests.pipeline.models.small import SMALL, VIT, same_weights, small_vit, write_safetensors


def test_a_model_is_made_in_evaluation_mode_and_remembers_its_origin() -> None:
    model = create_model(ModelSpec(VIT, kwargs=SMALL), num_classes=5)
    assert not model.training
    assert origin_of(model) == Origin(VIT, {**SMALL, "num_classes": 5})
    assert json.loads(json.dumps(asdict(origin_of(model)))) == {"name": VIT, "kwargs": {**SMALL, "num_classes": 5}}
    assert origin_of(copy.deepcopy(model)) == origin_of(model)


def test_the_checkpoint_decides_the_number_of_classes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_safetensors(small_vit().state_dict(), tmp_path / "x.safetensors")
    with caplog.at_level("INFO"):
        model = create_model(VIT, path, **SMALL)
    assert model.num_classes == 5
    assert origin_of(model).kwargs["num_classes"] == 5
    assert "num_classes=5 is taken from the classifier" in caplog.text
    with pytest.raises(ModelError, match=r"2 of another shape \(first 'head.weight': \[5, 48\] in the file, \[7, 48\]"):
        create_model(VIT, path, num_classes=7, **SMALL)


def test_timms_own_weights_are_loaded_and_checked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = small_vit(num_classes=1000)
    path = write_safetensors(model.state_dict(), tmp_path / "x.safetensors")
    overlay = {"file": str(path)}  # timm's own way to a local copy of its download
    kwargs = {**SMALL, "pretrained_cfg_overlay": overlay}
    assert same_weights(model, create_model(VIT, pretrained=True, **kwargs))
    assert not caplog.records
    create_model(VIT, pretrained=True, num_classes=3, **kwargs)
    assert "random weights: timm's pretrained ones are for 1000 classes, not 3" in caplog.text
    state = model.state_dict()
    state["norm.bias"][0] = float("nan")
    write_safetensors(state, path)
    with pytest.raises(ModelError, match=r"timm's vit_tiny_patch16_224 holds NaN.*'norm\.bias'"):
        create_model(VIT, pretrained=True, **kwargs)


def test_weights_that_cannot_be_had_are_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"cannot download timm's weights for test_vit \(.*give it as weights"):
        create_model("test_vit", pretrained=True, cache_dir=str(tmp_path))
    without = sorted(set(timm.list_models("vit_*")) - {name.partition(".")[0] for name in timm.list_pretrained()})[0]
    with pytest.raises(ModelError, match="timm has no pretrained weights"):
        create_model(without, pretrained=True, embed_dim=48, depth=1, num_heads=3)
    with pytest.raises(ModelError, match="both weights"):
        create_model(VIT, "x.pth", pretrained=True)


@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "tf_efficientnet_lite0"])
def test_real_weights_fit(name: str, real_data: Path) -> None:
    model = create_model(name, real_data / "weights" / f"{name}.safetensors")
    check_classes(model, [str(i) for i in range(1000)])
    assert input_shape(model) == (3, 224, 224)


def test_an_import_path_names_the_function_that_makes_a_model(tmp_path: Path) -> None:
    name = "tests.pipeline.tasks.small_nets:unet"
    spec = ModelSpec(name, kwargs={"classes": 2}, input_size=(3, 20, 24))
    model = create_model(spec)
    assert (model.head.out_channels, model.training, input_shape(model)) == (2, False, (3, 20, 24))
    state = {key: torch.full_like(value, 2) for key, value in model.state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    filled = create_model(replace(spec, weights=str(tmp_path / "w.safetensors")))
    assert torch.equal(filled.head.weight, state["head.weight"])
    made = factory_of(replace(spec, weights="absent.safetensors"))
    assert made is not None and torch.equal(made().head.weight, model.head.weight)
    assert factory_of(ModelSpec("resnet18")) is None


def test_a_function_that_takes_the_number_of_classes_is_given_that_of_the_checkpoint(tmp_path: Path) -> None:
    state = resnet18(num_classes=7).state_dict()  # as torchvision saves it
    torch.save(state, tmp_path / "x.pth")
    name = "torchvision.models:resnet18"
    model = create_model(name, tmp_path / "x.pth")
    assert torch.equal(model.fc.weight, state["fc.weight"])
    with pytest.raises(
        ModelError, match=r"2 of another shape \(first 'fc\.weight': \[7, 512\] in the file, \[5, 512\]"
    ):
        create_model(name, tmp_path / "x.pth", num_classes=5)
    assert same_weights(create_model("resnet18", tmp_path / "x.pth"), model)  # timm's has the same names
    state["conv1.weight"] = state["conv1.weight"][:, :1]
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(ModelError, match="3 of another shape"):
        create_model(name, tmp_path / "x.pth")


@pytest.mark.parametrize("name", ["resnet10t", VIT, "torchvision.models:resnet18"])
def test_the_recipes_preprocessing_goes_before_the_models_own(name: str) -> None:
    kwargs = {"embed_dim": 48, "depth": 1, "num_heads": 3} if name == VIT else {}
    spec = ModelSpec(name, kwargs=kwargs, input_size=(3, 64, 48), mean=(0.1,), std=(0.4, 0.5, 0.6), crop_pct=0.8)
    model = create_model(replace(spec, interpolation="lanczos"))
    found = transform_for(model)
    assert (input_shape(model), found.shape) == ((3, 64, 48), (3, 64, 48))
    assert (found.mean, found.std, found.crop_pct) == ((0.1, 0.1, 0.1), (0.4, 0.5, 0.6), 0.8)
    assert found.interpolation == "lanczos"
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 64, 48)).shape == (1, 1000)
    if name == VIT:
        again = create_model(origin_of(model).name, **origin_of(model).kwargs)
        assert transform_for(again) == found


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: create_model("tests.pipeline.tasks.small_nets:absent"), "has no absent"),
        (
            lambda: create_model("tests.pipeline.tasks.small_nets:nothing"),
            "gives a NoneType, but must give an nn.Module",
        ),
        (lambda: create_model("tests.pipeline.tasks.small_nets:unet", depth=3), "cannot make a model with .*depth"),
        (lambda: ModelSpec("a.b:c", input_size=(3, 0, 8)), r"model\.input_size is \[3, 0, 8\], but must be 1 or more"),
        (lambda: ModelSpec("a.b:c", pretrained=True), "timm has no weights for a.b:c"),
    ],
)
def test_own_models_that_cannot_be_made_are_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(SecateurError, match=message):
        make()
