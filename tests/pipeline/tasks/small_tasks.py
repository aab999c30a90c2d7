"""Data of seconds for every task, and recipes of runs with them."""

from __future__ import annotations

import json
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


def write_masks(folder: Path) -> Path:
    """Images with masks of three classes; the border of each is of none."""
    draws = np.random.default_rng(0)
    (folder / "masks").mkdir(parents=True)
    for name in write_pictures(folder / "images"):
        mask = draws.integers(0, 3, (SIZE, SIZE), dtype=np.uint8)
        mask[0] = 255
        Image.fromarray(mask).save(folder / "masks" / name)
    return folder


def write_boxes(folder: Path) -> Path:
    """Images with up to two boxes each, of categories with the ids 3 and 7."""
    names = write_pictures(folder / "images")
    boxes = [
        {
            "id": 10 * number + part,
            "image_id": number,
            "category_id": (3, 7)[part],
            "bbox": [part, 2, 4 + number % 5, 8],
        }
        for number in range(COUNT)
        for part in range(number % 3)
    ]
    content = {
        "images": [{"id": i, "file_name": name, "width": SIZE, "height": SIZE} for i, name in enumerate(names)],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": boxes,
    }
    (folder / "instances.json").write_text(json.dumps(content))
    return folder


NETS = "tests.pipeline.tasks.small_nets"
SECTIONS: Mapping[str, Mapping[str, str | bool]] = {
    "detect": {"name": "detect", "decode": f"{NETS}:decode", "loss": f"{NETS}:detection_loss"},
    "custom": {
        "name": "custom",
        "loss": f"{NETS}:mean_error",
        "metric": f"{NETS}:worst_error",
        "labels": "numbers",
        "higher_is_better": False,
    },
}
"""The sections of tasks that have options."""
WRITERS: Mapping[str, tuple[Callable[[Path], Path], Mapping[str, Any]]] = {
    "regress": (write_numbers, {"name": "vit_tiny_patch16_224", "kwargs": {**VIT, "num_classes": 2}}),
    "multilabel": (write_sets, {"name": "vit_tiny_patch16_224", "kwargs": {**VIT, "num_classes": 3}}),
    "embed": (write_classes, {"name": "vit_tiny_patch16_224", "kwargs": {**VIT, "num_classes": 0}}),
    "segment": (write_masks, {"name": f"{NETS}:unet", "input_size": [3, SIZE, SIZE]}),
    "detect": (write_boxes, {"name": f"{NETS}:detector", "input_size": [3, SIZE, SIZE]}),
    "custom": (write_numbers, {"name": "vit_tiny_patch16_224", "kwargs": {**VIT, "num_classes": 2}}),
}
"""For each task what writes its data, and the model of a recipe."""


def recipe_for(task: str, folder: Path, **sections: Any) -> dict[str, Any]:
    """The content of a recipe for a run of a task, whose data it writes."""
    write, model = WRITERS[task]
    return {
        "task": dict(SECTIONS[task]) if task in SECTIONS else task,
        "model": dict(model),
        "data": {"path": str(write(folder / "data"))},
        "budget": {"macs": 0.7},
        "plan": {"align": 1},
        "export": {"targets": []},
        "bench": {"targets": ["torch:cpu"], "seconds": 0.05},
        "report": {"images": 2, "examples": 1},
        **sections,
    }
