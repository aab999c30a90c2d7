"""What of a recipe is checked with its model and its images, by the section that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.core.errors import SecateurError
from secateur.pipeline.runs.check import check_run
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.recipe import make_recipe

KWARGS = {"img_size": 16, "patch_size": 8, "embed_dim": 48, "depth": 1, "num_heads": 3}


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    images = np.random.default_rng(0).integers(0, 255, (12, 16, 16, 3), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", images=images, labels=np.arange(12) % 2)
    return {
        "model": {"name": "vit_tiny_patch16_224", "kwargs": {**KWARGS, "num_classes": 2}},
        "data": {"path": str(tmp_path / "images.npz")},
        "budget": {"macs": 0.5},
    }


def check(content: dict[str, Any], folder: Path) -> None:
    check_run(Run(folder / "run", make_recipe(content, "test")))


def test_a_recipe_that_works_passes_and_nothing_is_written(content: dict[str, Any], tmp_path: Path) -> None:
    check(content, tmp_path)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": {"name": "vit_tiny_patch16_224", "kwargs": {**KWARGS, "num_classes": 3}}}, "model: .* 3 classes"),
        ({"model": {"name": "vit_tiny_patch16_242"}}, "model: .*'vit_tiny_patch16_242'"),
        ({"data": {"path": "absent"}}, "data: .*absent"),
        ({"classes": ["0", "seven"]}, "data: the data has no class 'seven'; its classes are 0, 1"),
        ({"budget": {"params": "900M"}}, "budget params.* give less"),
    ],
)
def test_what_does_not_fit_is_named(
    changes: dict[str, Any], says: str, content: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(SecateurError, match=says):
        check({**content, **changes}, tmp_path)
