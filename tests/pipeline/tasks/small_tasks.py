"""Data of seconds for every task, and recipes of runs with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE, COUNT = 16, 15
VIT = {"img_size": SIZE, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 3}


def write_pictures(folder: Path, seed: int = 0) -> list[str]:
    """Pictures of noise; returns their names."""
    folder.mkdir(parents=True, exist_ok=True)
    draws, names = np.random.default_rng(seed), [f"{number}.png" for number in range(COUNT)]
    for name in names:
        Image.fromarray(draws.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(folder / name)
    return names


def write_numbers(folder: Path) -> Path:
    """Images with two numbers each."""
    rows = [f"{name},{number / 3},{-number}" for number, name in enumerate(write_pictures(folder / "images"))]
    (folder / "labels.csv").write_text("\n".join(["file,angle,depth", *rows]))
    return folder


def write_sets(folder: Path) -> Path:
    """Images with up to three labels each: in one cell, in rows of their own, or none."""
    words = ["cat;dog", "cat", "", "mouse", "dog; mouse"]
    rows = [f"{name},{words[number % 5]}" for number, name in enumerate(write_pictures(folder / "images"))]
    (folder / "labels.csv").write_text("\n".join(["file,label", *rows, "1.png,mouse"]))
    return folder


def write_classes(folder: Path) -> Path:
    """A folder for each of three classes."""
    for label in range(3):
        write_pictures(folder / f"class{label}", label)
    return folder


WRITERS: Mapping[str, tuple[Callable[[Path], Path], Mapping[str, Any]]] = {
    "regress": (write_numbers, {"name": "vit_tiny_patch16_224", "kwargs": {**VIT, "num_classes": 2}}),
    "multilabel": (write_sets, {"name": "vit_tiny_patch16_224", "kwargs": {**VIT, "num_classes": 3}}),
    "embed": (write_classes, {"name": "vit_tiny_patch16_224", "kwargs": {**VIT, "num_classes": 0}}),
}
"""For each task what writes its data, and the model of a recipe."""


def recipe_for(task: str, folder: Path, **sections: Any) -> dict[str, Any]:
    """The content of a recipe for a run of a task, whose data it writes."""
    write, model = WRITERS[task]
    return {
        "task": task,
        "model": dict(model),
        "data": {"path": str(write(folder / "data"))},
        "budget": {"macs": 0.7},
        "plan": {"align": 1},
        "export": {"targets": []},
        "bench": {"targets": ["torch:cpu"], "seconds": 0.05},
        "report": {"images": 2, "examples": 1},
        **sections,
    }
