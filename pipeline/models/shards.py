"""Weights in several files: an index says which tensor is in which, as the Hugging Face hub has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from secateur.core.errors import ModelError
from secateur.pipeline.models.hub_json import read_hub_json

INDEX = "model.safetensors.index.json"
"""What the index is called, beside its files."""


def is_index(path: Path) -> bool:
    """Whether a file is called as an index is."""
    return path.name == INDEX


def shards_of(index: Path) -> dict[str, tuple[str, ...]]:
    """The names of the tensors in each file beside an index, by the file's name.

    Raises `ModelError` for an index that is none, for a file that lies elsewhere or is no .safetensors, and for one
    that is missing.
    """
    found: dict[str, list[str]] = {}
    for tensor, name in _map_of(index).items():
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise ModelError(
                f"{index} puts {tensor!r} into {name!r}, but must name a .safetensors file beside it: download it again"
            )
        found.setdefault(name, []).append(tensor)
    if missing := [name for name in found if not (index.parent / name).is_file()]:
        raise ModelError(
            f"{index.parent} lacks {missing[0]}, {len(missing)} of the {len(found)} files that {index.name} names: "
            "download the folder again"
        )
    return {name: tuple(tensors) for name, tensors in found.items()}


def _map_of(index: Path) -> Mapping[str, object]:
    content = read_hub_json(index)
    found = content.get("weight_map") if isinstance(content, Mapping) else None
    if not isinstance(found, Mapping) or not found:
        raise ModelError(f"{index} has no weight_map, which names the file of each tensor: download it again")
    return found
