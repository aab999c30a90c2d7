"""timm models by name: weights, classes, origins and inputs, and one sentence for every bad checkpoint."""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from secateur.core.errors import ModelError
from secateur.pipeline.models.timm_models import (
    ModelSpec,
    Origin,
    check_classes,
    create_model,
    input_shape,
    origin_of,
    transform_for,
)

VIT = "vit_tiny_patch16_224"
SMALL: dict[str, Any] = {"img_size": 16, "patch_size": 4, "embed_dim": 48, "depth": 2, "num_heads": 3}


def small_vit(**kwargs: Any) -> nn.Module:
    return create_model(VIT, **{**SMALL, "num_classes": 5, **kwargs})


def same_weights(one: nn.Module, two: nn.Module) -> bool:
    left, right = one.state_dict(), two.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def write_safetensors(tensors: dict[str, Tensor], path: Path) -> Path:
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
    return path


def test_a_model_is_made_in_evaluation_mode_and_remembers_its_origin() -> None:
    model = create_model(ModelSpec(VIT, kwargs=SMALL), num_classes=5)
    assert not model.training
    assert origin_of(model) == Origin(VIT, {**SMALL, "num_classes": 5})
    assert json.loads(json.dumps(asdict(origin_of(model)))) == {"name": VIT, "kwargs": {**SMALL, "num_classes": 5}}
    assert origin_of(copy.deepcopy(model)) == origin_of(model)


def test_an_origin_makes_the_same_architecture_again() -> None:
    model = small_vit(img_size=(16, 24))
    origin = origin_of(model)
    again = create_model(origin.name, **json.loads(json.dumps(dict(origin.kwargs))))
    assert origin_of(again) == origin
    again.load_state_dict(model.state_dict())
    assert input_shape(again) == (3, 16, 24)


WRAPPED: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "plain": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3, "args": argparse.Namespace(lr=0.1)},
    "model": lambda state: {"model": state},
    "ema": lambda state: {"state_dict": {k: v * 0 for k, v in state.items()}, "state_dict_ema": state},
    "module.": lambda state: {"module." + k: v for k, v in state.items()},
    "compiled ddp": lambda state: {"state_dict": {"_orig_mod.module." + k: v for k, v in state.items()}},
}


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_torch_files_are_unwrapped(wrapped: str, tmp_path: Path) -> None:
    model = small_vit()
    torch.save(WRAPPED[wrapped](model.state_dict()), tmp_path / "x.pth")
    assert same_weights(model, create_model(VIT, tmp_path / "x.pth", **SMALL))


def test_safetensors_and_half_precision_fill_the_model(tmp_path: Path) -> None:
    model = small_vit().half().float()
    exact = write_safetensors(model.state_dict(), tmp_path / "x.safetensors")
    half = write_safetensors({k: v.half() for k, v in model.state_dict().items()}, tmp_path / "h.safetensors")
    for path in (exact, half):
        filled = create_model(ModelSpec(VIT, weights=str(path), kwargs=SMALL))
        assert same_weights(model, filled)
        assert next(filled.parameters()).dtype == torch.float32


def test_the_checkpoint_decides_the_number_of_classes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_safetensors(small_vit().state_dict(), tmp_path / "x.safetensors")
    with caplog.at_level("INFO"):
        model = create_model(VIT, path, **SMALL)
    assert model.num_classes == 5
    assert origin_of(model).kwargs["num_classes"] == 5
    assert "num_classes=5 is taken from the classifier" in caplog.text
    with pytest.raises(ModelError, match=r"2 of another shape \(first 'head.weight': \[5, 48\] in the file, \[7, 48\]"):
        create_model(VIT, path, num_classes=7, **SMALL)


def test_counters_of_batches_may_be_missing(tmp_path: Path) -> None:
    model = create_model("resnet10t", num_classes=4)
    tensors = {k: v for k, v in model.state_dict().items() if "num_batches_tracked" not in k}
    assert same_weights(model, create_model("resnet10t", write_safetensors(tensors, tmp_path / "x.safetensors")))


def test_older_checkpoints_of_a_family_go_through_timms_filter(tmp_path: Path) -> None:
    model = small_vit()
    wide = small_vit(img_size=32)
    path = write_safetensors(wide.state_dict(), tmp_path / "x.safetensors")  # 65 positions, resampled to 17
    filled = create_model(VIT, path, **SMALL)
    assert torch.equal(filled.get_parameter("blocks.1.mlp.fc1.weight"), wide.get_parameter("blocks.1.mlp.fc1.weight"))
    assert filled.get_parameter("pos_embed").shape == model.get_parameter("pos_embed").shape


def _module(path: Path) -> None:
    torch.save(small_vit(), path)


def _wrapped_module(path: Path) -> None:
    torch.save({"model": small_vit(), "epoch": 1}, path)


def _legacy_module(path: Path) -> None:
    torch.save(small_vit(), path, _use_new_zipfile_serialization=False)


def _scripted(path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)


def _truncated(path: Path) -> None:
    torch.save(small_vit().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-2000])


def _truncated_legacy(path: Path) -> None:
    torch.save(small_vit().state_dict(), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _text(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\n")


def _empty(path: Path) -> None:
    path.touch()


def _numbers(path: Path) -> None:
    torch.save({"loss": 0.1, "epoch": 3}, path)


def _tensor(path: Path) -> None:
    torch.save(torch.ones(3), path)


def _nan(path: Path) -> None:
    state = small_vit().state_dict()
    state["blocks.1.attn.qkv.weight"][0, 3] = float("nan")
    torch.save(state, path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (_module, r"holds pickled Python objects .*VisionTransformer.* save model.state_dict\(\)"),
        (_wrapped_module, r"holds pickled Python objects .*VisionTransformer"),
        (_legacy_module, r"holds pickled Python objects .*VisionTransformer"),
        (_scripted, r"cannot read .*x\.pth"),
        (_truncated, r"cannot read .*x\.pth: .*truncated or no torch file"),
        (_truncated_legacy, r"cannot read .*x\.pth: .*truncated or no torch file"),
        (_text, r"cannot read .*x\.pth: .*truncated or no torch file"),
        (_empty, r"cannot read .*x\.pth: .*truncated or no torch file"),
        (_numbers, r"holds a dictionary of 'loss', 'epoch', but no state dict"),
        (_tensor, r"holds a Tensor, but no state dict"),
        (_nan, r"holds NaN or infinite numbers: 1 of 6912 in 'blocks.1.attn.qkv.weight'"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # torch's own remarks on old formats and TorchScript
def test_a_bad_torch_file_is_one_sentence(write: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    write(tmp_path / "x.pth")
    with pytest.raises(ModelError, match=message) as caught:
        create_model(VIT, tmp_path / "x.pth", **SMALL)
    assert "\n" not in str(caught.value)


def test_a_bad_safetensors_file_is_one_sentence(tmp_path: Path) -> None:
    path = write_safetensors(small_vit().state_dict(), tmp_path / "x.safetensors")
    whole = path.read_bytes()
    for data in (whole[:-100], whole[:100], b"", b"text"):
        path.write_bytes(data)
        with pytest.raises(ModelError, match=r"cannot read .*truncated or no safetensors file"):
            create_model(VIT, path, **SMALL)
    state = small_vit().state_dict()
    state["head.bias"][2] = float("inf")
    with pytest.raises(ModelError, match=r"1 of 5 in 'head\.bias'"):
        create_model(VIT, write_safetensors(state, path), **SMALL)


def test_no_code_of_a_checkpoint_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (mark,)

    torch.save({"state_dict": small_vit().state_dict(), "x": Bomb()}, tmp_path / "x.pth")
    with pytest.raises(ModelError, match="holds pickled Python objects"):
        create_model(VIT, tmp_path / "x.pth", **SMALL)
    assert not mark.exists()


def test_a_weights_path_must_be_a_known_file(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").touch()
    for path, message in (
        (tmp_path / "absent.pth", "does not exist"),
        (tmp_path, "is a folder"),
        (tmp_path / "x.onnx", r"ends in '.onnx', but must end in one of .safetensors, .pth"),
    ):
        with pytest.raises(ModelError, match=message):
            create_model(VIT, path, **SMALL)


def test_a_checkpoint_of_another_architecture_says_what_differs(tmp_path: Path) -> None:
    path = write_safetensors(small_vit().state_dict(), tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match=r"does not fit resnet10t: \d+ of \d+ tensors missing \(first 'conv1"):
        create_model("resnet10t", path)
    with pytest.raises(ModelError, match=r"12 of 44 tensors missing \(first 'blocks.2.norm1.weight'\); give"):
        create_model(VIT, path, **{**SMALL, "depth": 3})
    with pytest.raises(ModelError, match=r"12 unexpected \(first 'blocks.1.attn.proj.bias'\)"):
        create_model(VIT, path, **{**SMALL, "depth": 1})
    with pytest.raises(ModelError, match=r"of another shape \(first '.*': \[.*48.*\] in the file, \[.*36.*\] in the"):
        create_model(VIT, path, **{**SMALL, "embed_dim": 36})


def test_unknown_names_get_near_matches() -> None:
    with pytest.raises(ModelError, match=r"has no model 'deit_tiny_patch16_244'; did you mean 'deit_tiny_patch16_224'"):
        create_model("deit_tiny_patch16_244")
    with pytest.raises(ModelError, match=r"deit_tiny_patch16_224 has no weights 'nope'; its tags are: fb_in1k"):
        create_model("deit_tiny_patch16_224.nope")
    for name in ("hf-hub:timm/resnet18", "resnet18/", ""):
        with pytest.raises(ModelError, match="has no model"):
            create_model(name)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"foo": 3}, r"timm cannot make vit_tiny_patch16_224 with .*unexpected keyword argument 'foo'"),
        ({"num_heads": 7}, r"dim should be divisible by num_heads"),
        ({"features_only": True}, "cannot be used"),
        ({"checkpoint_path": "x"}, "give the file as weights"),
        ({"act_layer": nn.GELU}, "must be plain values"),
    ],
)
def test_bad_arguments_are_one_sentence(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        create_model(VIT, **kwargs)


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


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        (VIT, {**SMALL, "num_classes": 5}),
        (VIT, {**SMALL, "num_classes": 5, "in_chans": 1}),
        ("resnet10t", {"in_chans": 1, "num_classes": 2}),
        ("test_efficientnet", {}),
        ("test_convnext.r160_in1k", {}),
    ],
)
def test_the_origin_of_timms_own_models_is_inferred(name: str, kwargs: dict[str, Any]) -> None:
    model = timm.create_model(name, **kwargs)
    origin = origin_of(model)
    assert origin.name.partition(".")[0] == name.partition(".")[0]
    assert "." in origin.name or not model.pretrained_cfg.get("tag")
    again = create_model(origin.name, **origin.kwargs)
    again.load_state_dict(model.state_dict())
    assert transform_for(again) == transform_for(model)
    assert origin_of(again) == origin


def test_an_origin_that_cannot_be_inferred_is_one_sentence() -> None:
    changed = timm.create_model(VIT, **SMALL)
    changed.blocks = changed.blocks[:1]
    with pytest.raises(ModelError, match=r"is not what timm makes as 'vit_tiny_patch16_224.*sc\.create_model"):
        origin_of(changed)
    with pytest.raises(ModelError, match=r"a Linear does not say which timm model it is.*sc\.create_model"):
        origin_of(nn.Linear(2, 2))
    odd = timm.create_model(VIT, act_layer=nn.ReLU, **SMALL)
    with pytest.raises(ModelError, match="JSON cannot hold"):
        origin_of(odd)


@pytest.mark.parametrize(
    ("name", "kwargs", "shape"),
    [
        (VIT, {**SMALL, "in_chans": 1, "img_size": 8, "patch_size": 2}, (1, 8, 8)),
        (VIT, SMALL, (3, 16, 16)),
        ("resnet10t", {"in_chans": 1}, (1, 176, 176)),
        ("resnet10t", {"pretrained_cfg_overlay": {"input_size": [3, 32, 32]}}, (3, 32, 32)),
        ("test_efficientnet", {}, (3, 160, 160)),
    ],
)
def test_the_input_shape_is_the_one_the_model_was_built_for(
    name: str, kwargs: dict[str, Any], shape: tuple[int, int, int]
) -> None:
    model = create_model(name, **kwargs)
    assert input_shape(model) == shape
    assert model(torch.zeros(1, *shape)).shape[0] == 1
    transform = transform_for(model)
    assert transform.shape == shape
    assert len(transform.mean) == len(transform.std) == shape[0]


def test_the_transform_is_timms_data_config() -> None:
    model = create_model("test_efficientnet", pretrained_cfg_overlay={"crop_pct": 0.8, "interpolation": "bilinear"})
    config = timm.data.resolve_model_data_config(model)
    transform = transform_for(model)
    assert (transform.mean, transform.std) == (config["mean"], config["std"])
    assert (transform.crop_pct, transform.interpolation) == (0.8, "bilinear")
    assert transform_for(model, (3, 64, 64)).shape == (3, 64, 64)
    grey = transform_for(create_model("resnet10t", in_chans=1))
    assert grey.mean == pytest.approx([sum((0.485, 0.456, 0.406)) / 3])
    with pytest.raises(ModelError, match="4 channels, but only 1"):
        transform_for(create_model("resnet10t", in_chans=4))


def test_the_data_must_have_the_models_classes() -> None:
    model = small_vit()
    check_classes(model, tuple("abcde"))
    with pytest.raises(ModelError, match=r"the model has 5 classes, but the data has 3 \(first 'a', last 'c'\)"):
        check_classes(model, tuple("abc"))
    with pytest.raises(ModelError, match="the data has 0"):
        check_classes(model, ())


@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "tf_efficientnet_lite0"])
def test_real_weights_fit(name: str, real_data: Path) -> None:
    model = create_model(name, real_data / "weights" / f"{name}.safetensors")
    check_classes(model, [str(i) for i in range(1000)])
    assert input_shape(model) == (3, 224, 224)
