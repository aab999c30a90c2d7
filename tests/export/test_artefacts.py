"""export.json and build.json: written and read again, and damage refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from secateur.core.errors import ExportError, RunError, SecateurError
from secateur.export.artefacts import BuildFile, ExportedGraph, ExportFile
from secateur.export.onnx_info import OnnxInfo
from secateur.export.parity import Difference, Parity
from secateur.export.quantize.limit import Drop, LayerChoice, Limited, Trial
from secateur.export.quantize.quantize import Quantized
from secateur.export.runner.tensors import TensorInfo

INFO = OnnxInfo(
    path=Path("model.fp16.onnx"),
    opset=20,
    precision="fp16",
    inputs=(TensorInfo("input", "float32", (-1, 3, 8, 8)),),
    outputs=(TensorInfo("logits", "float32", (-1, 4)),),
    nodes=7,
    size_bytes=1234,
    sha256="0" * 64,
    external="model.fp16.onnx.0123456789abcdef.data",
    kept={"node_sum": "a reason"},
    images=8,
)
PARITY = Parity(0.01, (Difference(1, "logits", 0.25, 2.0, 0.125, 0.875, 1.0),), widened=False, least=0.75)
LAYER = LayerChoice("a", "blocks.0", "MatMul", 8.0, "int8", 512.0, 0.25, "a reason")
DROP = Drop(0.25, 0.5, 8)
LIMITED = Limited(0.5, "top-1 accuracy", "%", DROP, (Trial(0, DROP),), (LAYER,), 0.5, 0.25, "a sentence")
QUANTIZED = Quantized("mse", {"mse": 0.5}, 8, 3, 1, 1, 2, {"head": "a reason"}, LIMITED)
EXPORTED = ExportFile(
    {
        "model.fp16.onnx": ExportedGraph(INFO, PARITY),
        "model.onnx": ExportedGraph(INFO, None, "why"),
        "model.int8.onnx": ExportedGraph(INFO, PARITY, quantized=QUANTIZED),
    }
)
BUILT = BuildFile(("engines/tensorrt/model.engine",), {"tensorrt@fp16": "a reason"})


@pytest.mark.parametrize("made", [EXPORTED, BUILT, ExportFile({}), BuildFile()])
def test_what_is_written_is_read_again(made: ExportFile | BuildFile, tmp_path: Path) -> None:
    made.save(tmp_path)
    assert type(made).load(tmp_path) == made


def test_the_formats_of_the_design(tmp_path: Path) -> None:
    EXPORTED.save(tmp_path)
    BUILT.save(tmp_path)
    exported, built = (json.loads((tmp_path / name).read_text()) for name in ("export.json", "build.json"))
    assert exported["schema"] == "secateur.export/1"
    assert exported["files"]["model.fp16.onnx"] == {
        "path": "model.fp16.onnx",
        "opset": 20,
        "precision": "fp16",
        "inputs": [{"name": "input", "dtype": "float32", "shape": [-1, 3, 8, 8]}],
        "outputs": [{"name": "logits", "dtype": "float32", "shape": [-1, 4]}],
        "nodes": 7,
        "size_bytes": 1234,
        "sha256": "0" * 64,
        "external": "model.fp16.onnx.0123456789abcdef.data",
        "kept": {"node_sum": "a reason"},
        "images": 8,
        "parity": {
            "tolerance": 0.01,
            "differences": [
                {
                    "batch": 1,
                    "output": "logits",
                    "max_abs": 0.25,
                    "scale": 2.0,
                    "relative": 0.125,
                    "cosine": 0.875,
                    "agreement": 1.0,
                },
            ],
            "widened": False,
            "least": 0.75,
        },
    }
    assert (exported["files"]["model.onnx"]["parity"], exported["files"]["model.onnx"]["not_checked"]) == (None, "why")
    assert built == {
        "schema": "secateur.build/1",
        "built": ["engines/tensorrt/model.engine"],
        "skipped": {"tensorrt@fp16": "a reason"},
    }


@pytest.mark.parametrize(
    ("made", "change", "says"),
    [
        (EXPORTED, {"files": 3}, r"export.json: the whole: Input should be a valid dictionary"),
        (EXPORTED, {"files": {"a": None}}, r"export.json: the whole: Input should be a valid dictionary"),
        (EXPORTED, {"files": {"a": {"path": "a"}}}, r"export.json: a.info.opset: Field required"),
        (BUILT, {"skipped": ["tensorrt"]}, r"build.json: skipped: Input should be a valid"),
    ],
)
def test_damage_is_refused_in_one_sentence(
    made: ExportFile | BuildFile, change: dict[str, Any], says: str, tmp_path: Path
) -> None:
    made.save(tmp_path)
    path = tmp_path / made.NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ExportError, match=says) as caught:
        type(made).load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [ExportFile, BuildFile])
def test_an_absent_file_is_said(kind: type[ExportFile] | type[BuildFile], tmp_path: Path) -> None:
    with pytest.raises(RunError, match=kind.NAME):
        kind.load(tmp_path)
    assert issubclass(RunError, SecateurError)
