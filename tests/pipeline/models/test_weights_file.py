"""Weights files: read without running code, and one sentence for every bad one."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateur.core.errors import ModelError
from secateur.pipeline.models.create import create_model
from secateur.pipeline.models.fill import fill
from secateur.pipeline.models.spec import ModelSpec
from secateur.pipeline.models.weights_file import open_checkpoint, read_checkpoint
from tests.pipeline.models.small import SMALL, VIT, same_weights, small_vit, write_safetensors

WRAPPED: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "plain": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3, "args": argparse.Namespace(lr=0.1)},
    "model": lambda state: {"model": state},
    "ema": lambda state: {"state_dict": {k: v * 0 for k, v in state.items()}, "state_dict_ema": state},
    "module.": lambda state: {"module." + k: v for k, v in state.items()},
    "lightning": lambda state: {
        "pytorch-lightning_version": "2.5",
        "state_dict": {"criterion.weight": torch.ones(3), **{"net." + k: v for k, v in state.items()}},
    },
    "compiled ddp": lambda state: {"state_dict": {"_orig_mod.module." + k: v for k, v in state.items()}},
}


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_torch_files_are_unwrapped(wrapped: str, tmp_path: Path) -> None:
    model = small_vit()
    torch.save(WRAPPED[wrapped](model.state_dict()), tmp_path / "x.pth")
    assert same_weights(model, create_model(VIT, tmp_path / "x.pth", **SMALL))


def both(state: dict[str, Tensor]) -> dict[str, Any]:
    """A checkpoint of timm's train.py, with weights of the last step that are all zero."""
    last = {key: value * 0 for key, value in state.items()}
    return {"epoch": 3, "arch": VIT, "state_dict": last, "optimizer": {}, "state_dict_ema": state}


def test_which_of_two_kinds_of_weights_is_taken_is_chosen_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, path = small_vit(), str(tmp_path / "x.pth")
    torch.save(both(model.state_dict()), path)

    def bias(ema: bool | None) -> Tensor:
        made: Tensor = create_model(ModelSpec(VIT, path, ema=ema, kwargs=SMALL)).get_parameter("norm.weight")
        return made

    assert bias(False).sum() == 0 and not caplog.records
    assert torch.equal(bias(True), model.get_parameter("norm.weight")) and not caplog.records
    assert torch.equal(bias(None), model.get_parameter("norm.weight"))
    assert "state_dict_ema is taken, not epoch, arch, state_dict, optimizer; model.ema: false takes" in caplog.text
    torch.save({"state_dict": model.state_dict()}, path)
    with pytest.raises(
        ModelError, match=r"has no averaged weights \(state_dict_ema or model_ema\), which model.ema asks"
    ):
        bias(True)


def test_what_a_lightning_module_has_besides_its_model_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(WRAPPED["lightning"](small_vit().state_dict()), tmp_path / "x.ckpt")
    create_model(VIT, tmp_path / "x.ckpt", **SMALL)
    assert "1 tensors outside of net are not used (first 'criterion.weight')" in caplog.text


def test_a_checkpoint_names_its_architecture(tmp_path: Path) -> None:
    torch.save(both(small_vit().state_dict()), tmp_path / "x.pth")
    assert open_checkpoint(tmp_path / "x.pth").architecture == VIT
    assert open_checkpoint(write_safetensors(small_vit().state_dict(), tmp_path / "x.safetensors")).architecture == ""


def test_a_model_whose_attribute_has_the_name_of_a_wrapper_is_filled(tmp_path: Path) -> None:
    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Linear(2, 3)

    state = {key: tensor + 1 for key, tensor in Wrapper().state_dict().items()}
    torch.save(state, tmp_path / "x.pth")
    model = Wrapper()
    fill(model, read_checkpoint(tmp_path / "x.pth"), "Wrapper", "x.pth")
    assert torch.equal(model.model.weight, state["model.weight"])


def test_safetensors_and_half_precision_fill_the_model(tmp_path: Path) -> None:
    model = small_vit().half().float()
    exact = write_safetensors(model.state_dict(), tmp_path / "x.safetensors")
    half = write_safetensors({k: v.half() for k, v in model.state_dict().items()}, tmp_path / "h.safetensors")
    for path in (exact, half):
        filled = create_model(ModelSpec(VIT, weights=str(path), kwargs=SMALL))
        assert same_weights(model, filled)
        assert next(filled.parameters()).dtype == torch.float32


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


PACKED = {
    "expanded": lambda: torch.ones(1).expand(1000, 1000),
    "expanded to terabytes": lambda: torch.ones(1).expand(10**6, 10**6),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "sparse rows": lambda: torch.eye(3).to_sparse_csr(),
    "quantised": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "without numbers": lambda: torch.empty(3, device="meta"),
}


@pytest.mark.parametrize("kind", PACKED)
def test_tensors_that_do_not_hold_all_their_numbers_are_refused(kind: str, tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2), "odd": PACKED[kind]()}, tmp_path / "x.pth")
    with pytest.raises(ModelError, match=rf"x\.pth: the tensor 'odd' is {kind.split()[0]}"):
        read_checkpoint(tmp_path / "x.pth")
