"""Measuring from Python what the command line measures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from secateur.benchmarks.bench import Measured
from secateur.benchmarks.results_file import BenchResult
from secateur.core.errors import BenchError, EngineError
from secateur.pipeline.models.create import create_model
from secateur.pipeline.runs.measure import bench
from secateur.pipeline.structure.storage import save
from tests.conftest import make_vit


def test_a_model_alone_and_against_another_one(vit: nn.Module) -> None:
    example = torch.zeros(1, 3, 16, 16)
    alone = bench(vit, targets=["torch:cpu"], seconds=0.02, threads=1, example_input=example)
    assert isinstance(alone, Measured)
    assert list(alone.side.latency_ms) == ["torch:cpu"]
    small = make_vit(depth=1)
    pair = bench(small, vit, targets=["torch:cpu"], batches=(1, 2), seconds=0.02, example_input=example)
    assert list(pair.speedup) == ["torch:cpu@b1", "torch:cpu@b2"]
    assert (pair.dense.name, pair.pruned.name) == ("reference", "candidate")
    assert (pair.dense.macs or 0) > (pair.pruned.macs or 0)


def test_a_run_directory_alone_is_its_dense_against_its_pruned_model(tmp_path: Path) -> None:
    kwargs = "{img_size: 16, patch_size: 8, embed_dim: 48, depth: 1, num_heads: 3, num_classes: 10, in_chans: 1}"
    (tmp_path / "recipe.yaml").write_text(
        f"model: {{name: vit_tiny_patch16_224, kwargs: {kwargs}}}\ndata: {{path: digits}}\nbudget: {{macs: 0.9}}\n"
    )
    small = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 3, "num_classes": 10}
    save(create_model("vit_tiny_patch16_224", in_chans=1, **small), tmp_path / "model")
    found = bench(str(tmp_path), targets=["torch:cpu"], seconds=0.02)
    assert isinstance(found, BenchResult)
    assert list(found.speedup) == ["torch:cpu"]


def test_what_cannot_be_measured_is_refused(vit: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="'torch:tpu' is not known"):
        bench(vit, targets=["onnxruntime:cpu", "torch:tpu"])
    with pytest.raises(BenchError, match="does not exist"):
        bench(vit, tmp_path / "absent")
