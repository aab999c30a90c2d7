"""Graphs and engines that are to be served."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from secateur.core.files import sha256_file
from secateur.export.engine_info import EngineInfo, Profile
from secateur.export.graph_types import read_graph
from secateur.export.notes import deployment_notes
from secateur.export.preprocessing import Preprocessing
from secateur.export.runner.tensors import TensorInfo
from tests.export.test_engine_info import ENGINE

CLASSES = ("cat", 'd"og', "b\nird", "ox;en")
RULE = Preprocessing((3, 8, 8), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture
def graph(cnn_onnx: Path, tmp_path: Path) -> Path:
    """The small CNN with the names of its classes and its preprocessing."""
    content = read_graph(cnn_onnx)
    for key, value in deployment_notes(RULE, CLASSES).items():
        content.metadata_props.add(key=f"secateur.{key}", value=value)
    onnx.save(content, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def make_engine(folder: Path, target: str, capability: str, precision: str = "fp16", batch: int = -1) -> EngineInfo:
    """An engine of the small CNN that nothing can load."""
    folder.mkdir(parents=True)
    (folder / "model.engine").write_bytes(f"{target} {capability} {precision}".encode())
    return replace(
        ENGINE,
        target=target,
        runtime=target.partition(":")[0],
        compute_capabilities=(capability,),
        precision=precision,
        inputs=(TensorInfo("input", "float32", (batch, 3, 8, 8)),),
        outputs=(TensorInfo("logits", "float32", (batch, 4)),),
        profile=Profile(1, 4, 16),
        classes=CLASSES,
        engine_sha256=sha256_file(folder / "model.engine"),
        folder=folder,
    )
