"""Weights files, read without running the code that a pickle may hold."""

from __future__ import annotations

import argparse
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from secateur.core.errors import ModelError

TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".tar")
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Keys under which training scripts put the state dict; averaged weights go first, as in timm."""
PREFIXES = ("module.", "_orig_mod.", "model.")


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` or torch file by name, out of the usual wrappers and prefixes.

    Torch files are read with `weights_only=True`. Raises `ModelError` when the file is missing, truncated, of
    another kind, a pickled module, or holds a NaN or an infinite number.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ModelError(f"the weights file {path} {what}: give a .safetensors or .pth file")
    if path.suffix == ".safetensors":
        tensors = _read_safetensors(path)
    elif path.suffix in TORCH_SUFFIXES:
        tensors = _state_dict(_read_torch(path), path)
    else:
        allowed = ", ".join((".safetensors", *TORCH_SUFFIXES))
        raise ModelError(f"the weights file {path} ends in {path.suffix!r}, but must end in one of {allowed}")
    tensors = _without_prefixes(tensors)
    check_finite(tensors, str(path))
    return tensors


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
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise _damaged(path, error) from error


def _pickled_objects(path: Path, message: str) -> str:
    """The first class or function that the file asks for, or an empty string when it is just damaged."""
    for mark in ("Unsupported global: GLOBAL ", "Unsupported class "):
        if mark in message:
            return message.split(mark, 1)[1].split()[0]
    if zipfile.is_zipfile(path):
        return next(iter(sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))), "")
    return ""


def _damaged(path: Path, error: Exception) -> ModelError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return ModelError(
        f"cannot read {path}: {lines[0].rstrip('.')}; it is truncated or no torch file: copy or download it again"
    )


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    """The state dict in what torch has read."""
    if isinstance(content, Mapping):
        for key in WRAPPERS:
            if isinstance(content.get(key), Mapping):
                content = content[key]
                break
        tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        if tensors and len(tensors) == len(content):
            return tensors
    what = (
        f"a dictionary of {', '.join(map(repr, list(content)[:4]))}"
        if isinstance(content, Mapping)
        else (f"a {type(content).__name__}")
    )
    raise ModelError(f"{path} holds {what}, but no state dict: save model.state_dict() and give that file")


def _without_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without the prefixes that wrappers such as DistributedDataParallel put before every name."""
    for _ in PREFIXES:
        for prefix in PREFIXES:
            if tensors and all(name.startswith(prefix) for name in tensors):
                tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors
