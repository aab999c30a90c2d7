"""Weights files, read without running the code that a pickle may hold."""

from __future__ import annotations

import argparse
import logging
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from secateur.core.checkpoints import DAMAGE
from secateur.core.errors import ModelError
from secateur.core.files import sha256_json, sha256_once
from secateur.pipeline.models.shards import INDEX, is_index, shards_of

TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".tar")
AVERAGED = ("state_dict_ema", "model_ema")
"""Keys under which training scripts put the averaged weights, which are taken first, as in timm."""
PLAIN = ("state_dict", "model")
"""Keys under which they put those of the last step."""
PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
"""What DistributedDataParallel, torch.compile and a LightningModule's attribute put before every name."""
LIGHTNING = "pytorch-lightning_version"
"""The key that tells a checkpoint of Lightning, whose module has more tensors than those of its model."""
HUB_WEIGHTS = ("model.safetensors", INDEX, "pytorch_model.bin")
"""What folders of the Hugging Face hub call their weights."""
ARCHITECTURE = "arch"
"""The key under which timm's train.py puts the name of the model."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a weights file by name, and the architecture that it names, if it does."""

    tensors: Mapping[str, Tensor]
    architecture: str = ""


def read_checkpoint(path: str | Path, ema: bool | None = None) -> dict[str, Tensor]:
    """The tensors of a weights file, see `open_checkpoint`."""
    return dict(open_checkpoint(path, ema).tensors)


def open_checkpoint(path: str | Path, ema: bool | None = None, quiet: bool = False) -> Checkpoint:
    """What a `.safetensors` or torch file holds, out of the usual wrappers and prefixes.

    Where it holds averaged weights beside those of the last step, `ema` says which are taken; without it the averaged
    ones, and unless `quiet` it is said what was left. Torch files are read with `weights_only=True`. Raises
    `ModelError` when the file is missing, truncated, of another kind, a pickled module, holds a NaN or an infinite
    number, or has no averaged weights where these are asked for.
    """
    path = weights_in(Path(path).expanduser())
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is a device or a pipe" if path.exists() else "does not exist"
        raise ModelError(
            f"the weights file {path} {what}: give a .safetensors or .pth file, or a folder with {HUB_WEIGHTS[0]}"
        )
    content = _read(path)
    tensors = _without_prefixes(_state_dict(content, path, ema, quiet))
    check_plain(tensors, str(path))
    check_finite(tensors, str(path))
    named = content.get(ARCHITECTURE) if isinstance(content, Mapping) else None
    return Checkpoint(tensors, named if isinstance(named, str) else "")


def _read(path: Path) -> Any:
    """What a weights file of any kind holds."""
    if is_index(path):
        return _read_shards(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in TORCH_SUFFIXES:
        return _read_torch(path)
    allowed = ", ".join((".safetensors", *TORCH_SUFFIXES))
    raise ModelError(f"the weights file {path} ends in {path.suffix!r}, but must end in one of {allowed}")


def weights_in(path: Path) -> Path:
    """The weights in a folder of the Hugging Face hub; any other path as it is."""
    return next((path / name for name in HUB_WEIGHTS if (path / name).is_file()), path)


def weights_digest(path: Path) -> str:
    """The SHA-256 of a weights file, or of all files that an index names; empty where there is no such file."""
    path = weights_in(path)
    if not path.is_file():
        return ""
    if not is_index(path):
        return sha256_once(path)
    return sha256_json({name: sha256_once(path.parent / name) for name in shards_of(path)})


def check_plain(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raises `ModelError` naming the first tensor that does not hold all of its numbers one by one.

    Those are sparse, quantised and empty ("meta") tensors, and those that repeat a few numbers as if they were many.
    """
    for name, tensor in tensors.items():
        what = ""
        if tensor.is_quantized:
            what = "quantised"
        elif tensor.layout != torch.strided:
            what = "sparse"
        elif tensor.device.type == "meta":
            what = "without numbers (on the device meta)"
        elif tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
            what = f"expanded: {tensor.numel():,} numbers from {tensor.untyped_storage().nbytes():,} bytes"
        if what:
            raise ModelError(
                f"{where}: the tensor {name!r} is {what}: save a dense model's state_dict() of plain tensors, of "
                "which none was expanded"
            )


def check_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raises `ModelError` naming the first tensor with a NaN or an infinite number."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            bad = int((~torch.isfinite(tensor.float())).sum())
            if bad:
                raise ModelError(
                    f"{where} holds NaN or infinite numbers: {bad} of {tensor.numel()} in {name!r}; "
                    "give the weights of a training that did not diverge"
                )


def _read_shards(index: Path) -> dict[str, Tensor]:
    """The tensors of all files that an index names; raises `ModelError` where a file holds others than it says."""
    tensors: dict[str, Tensor] = {}
    for name, wanted in shards_of(index).items():
        found = _read_safetensors(index.parent / name)
        if odd := sorted(set(wanted) ^ set(found)):
            raise ModelError(
                f"{index.parent / name} and {index.name} do not agree about {odd[0]!r}: they are of different models; "
                "download the folder again"
            )
        tensors |= found
    return tensors


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"cannot read {path}: {error}; it is truncated or no safetensors file: copy or download it again"
        ) from error


def _read_torch(path: Path) -> Any:
    try:
        # argparse's plain record of a training's options comes with many published checkpoints, timm's among them
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        globals_found = _pickled_objects(path, str(error))
        if globals_found:
            raise ModelError(
                f"{path} holds pickled Python objects ({globals_found}), which are not read because that could run "
                "any code: save model.state_dict() instead, with torch.save or safetensors, and give that file"
            ) from error
        raise _damaged(path, error) from error
    except DAMAGE as error:
        raise _damaged(path, error) from error


def _pickled_objects(path: Path, message: str) -> str:
    """The first class or function that the file asks for, or an empty string when it is just damaged."""
    for mark in ("Unsupported global: GLOBAL ", "Unsupported class "):
        if mark in message:
            return message.split(mark, 1)[1].split()[0]
    try:
        found = torch.serialization.get_unsafe_globals_in_checkpoint(path) if zipfile.is_zipfile(path) else ()
    except DAMAGE:  # who cannot be read does not tell what it asks for either
        return ""
    return next(iter(sorted(found)), "")


def _damaged(path: Path, error: Exception) -> ModelError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return ModelError(
        f"cannot read {path}: {lines[0].rstrip('.')}; it is truncated or no torch file: copy or download it again"
    )


def _state_dict(content: Any, path: Path, ema: bool | None, quiet: bool) -> dict[str, Tensor]:
    """The state dict in what was read, with a word on what else there is."""
    found = [
        key for key in (*AVERAGED, *PLAIN) if isinstance(content, Mapping) and isinstance(content.get(key), Mapping)
    ]
    averaged = [key for key in found if key in AVERAGED]
    if ema and not averaged:
        raise ModelError(
            f"{path} has no averaged weights ({' or '.join(AVERAGED)}), which model.ema asks for: give the checkpoint "
            "of a training that kept them, or leave model.ema out"
        )
    if ema is False:
        found = [key for key in found if key not in averaged]
    state = content[found[0]] if found else content
    if isinstance(state, Mapping):
        tensors = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
        if tensors and len(tensors) == len(state):
            if found and not quiet:
                _say_taken(content, found[0], bool(averaged) and ema is None, path)
            return _of_model(tensors, path) if LIGHTNING in content else tensors
    what = (
        f"a dictionary of {', '.join(map(repr, list(state)[:4]))}"
        if isinstance(state, Mapping)
        else (f"a {type(state).__name__}")
    )
    raise ModelError(f"{path} holds {what}, but no state dict: save model.state_dict() and give that file")


def _say_taken(content: Mapping[str, Any], taken: str, chosen: bool, path: Path) -> None:
    """Says which part of a file is taken and which are not; as a warning where both kinds of weights were to be had."""
    left = [str(key) for key in content if key != taken]
    other = any(key in PLAIN for key in left)
    advice = "; model.ema: false takes those of the last step" if chosen and other else ""
    level = logging.WARNING if advice else logging.INFO
    _log.log(level, "%s: %s is taken, not %s%s", path, taken, ", ".join(left) or "anything else", advice)


def _of_model(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The tensors of a LightningModule's model, which is its attribute `model` or `net`; says what it has besides."""
    for prefix in PREFIXES:
        inner = {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        if inner:
            if left := [name for name in tensors if name not in inner]:
                _log.warning(
                    "%s: %d tensors outside of %s are not used (first %r)", path, len(left), prefix.rstrip("."), left[0]
                )
            return inner
    return tensors


def _without_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without the prefixes that wrappers put before every name."""
    for _ in PREFIXES:
        for prefix in PREFIXES:
            if tensors and all(name.startswith(prefix) for name in tensors):
                tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors
