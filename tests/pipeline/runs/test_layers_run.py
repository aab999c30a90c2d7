"""The layers of a finished run, by its own graphs; a run that is not up to date has none."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest

from secateur.benchmarks.layers import profile
from secateur.benchmarks.layers.layers_file import read_layers
from secateur.benchmarks.layers.peak import roofline_of
from secateur.core.errors import BenchError, EngineError, RunError
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.layers_run import profile_run_layers
from tests.benchmarks.layers.test_peak import SMALL


@pytest.fixture
def folder(typed_run: Run, tmp_path: Path) -> Path:
    """A copy of the run, to be written into."""
    shutil.copytree(typed_run.folder, tmp_path / "run")
    return tmp_path / "run"


def quiet(message: str) -> None:
    pass


def test_the_layers_of_a_run_are_written_into_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "roofline_of", partial(roofline_of, **SMALL))
    monkeypatch.setattr(profile, "explain", lambda *_: "why")  # which would time layers alone
    found = profile_run_layers(folder, "onnxruntime:cpu@fp16", 2, 0.02, quiet)
    assert read_layers(folder) == found
    assert (found.target, found.batch, {row.reason for row in found.rows}) == ("onnxruntime:cpu@fp16", 2, {"why"})
    rows = {row.name: row for row in found.rows}
    for name in ("patch_embed.proj", "blocks.0.attn.qkv", "blocks.0.attn", "blocks.0.mlp.fc1", "blocks.0.mlp.fc2"):
        assert 0 < rows[name].macs_pruned <= rows[name].macs_dense, name
    assert sum(row.macs_pruned for row in found.rows) < sum(row.macs_dense for row in found.rows)


def test_what_cannot_be_profiled_leaves_nothing(folder: Path) -> None:
    for target, error, says in (
        ("torch:tpu", EngineError, "torch:tpu"),
        ("tensorrt_rtx:sm_86", BenchError, "the layers of tensorrt_rtx:sm_86 cannot be timed here"),
        ("onnxruntime:cuda", BenchError, "the layers of onnxruntime:cuda cannot be timed here"),
        ("onnxruntime:cpu@fp8", BenchError, r"has no ONNX file in fp8: .*precisions: \[fp8\]"),
    ):
        with pytest.raises(error, match=says):
            profile_run_layers(folder, target, 1, 0.02, quiet)
    (folder / "plan.json").unlink()
    with pytest.raises(RunError, match=r"is not up to date \(plan: .*secateur recover"):
        profile_run_layers(folder, "torch:cpu", 1, 0.02, quiet)
    assert not (folder / "layers.json").exists()
