"""A run in four precisions and two batches, with engines that no GPU here can run, for the tests that read it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.recipe import make_recipe
from secateur.pipeline.runs.runner import open_run, run_stages
from tests.once import made_once

KWARGS = {
    "img_size": 16,
    "patch_size": 8,
    "in_chans": 1,
    "num_classes": 10,
    "embed_dim": 24,
    "depth": 1,
    "num_heads": 3,
}
TYPED: Mapping[str, Any] = {
    "model": {"name": "vit_tiny_patch16_224", "kwargs": {**KWARGS, "num_heads": 3}},
    "data": {"path": "digits"},
    "budget": {"macs": 0.7},
    "score": {"method": "magnitude"},
    "recover": {"compensate": False},
    "export": {
        "precisions": ["fp32", "fp16", "bf16", "int8"],
        "targets": ["onnxruntime:cpu", "tensorrt_rtx:sm_86"],
        "quantize": {"samples_per_class": 2, "drop_images": 40},
        "max_drop": 50,
        "parity": {"fp16": 0.02, "int8": 0.3},
    },
    "bench": {"targets": ["onnxruntime:cpu", "torch:cpu", "tensorrt_rtx:sm_86"], "batch": [16, 1], "seconds": 0.05},
}


@pytest.fixture(scope="session")
def typed_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of `TYPED`; nobody may change it."""

    def make(folder: Path) -> None:
        run_stages(open_run(folder / "run", make_recipe(TYPED, "the test")))

    return open_run(made_once(tmp_path_factory, "typed", make) / "run")
