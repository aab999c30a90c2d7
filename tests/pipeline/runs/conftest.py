"""A run in four precisions and two batches, with engines that no GPU here can run, for the tests that read it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from secateur.export import graph_file
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.recipe import apply_settings, make_recipe
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


@pytest.fixture(scope="session")
def pixel_run(typed_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """That run with graphs in int8 alone, which take pixels and have their weights in files beside them."""
    settings = ["export.preprocessing=inside", "export.precisions=[int8]", "export.max_drop=null", "bench.batch=[1]"]
    settings += [f"{key}.targets=[onnxruntime:cpu]" for key in ("export", "bench")]
    settings += ["export.quantize.rule=minmax", "export.quantize.correct=false", "export.parity.int8=0.5"]

    def make(folder: Path) -> None:
        shutil.copytree(typed_run.folder, folder / "run")
        recipe = make_recipe(apply_settings(TYPED, settings), "the test")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(graph_file, "EMBED_LIMIT_BYTES", 1000)
            run_stages(open_run(folder / "run", recipe, update=True), until="bench")

    return open_run(made_once(tmp_path_factory, "pixels", make) / "run")
