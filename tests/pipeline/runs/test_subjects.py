"""What a word on the command line stands for."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from secateur.benchmarks.runners import Subject
from secateur.core.errors import BenchError, ModelError
from secateur.core.input_spec import InputSpec
from secateur.pipeline.models.create import create_model
from secateur.pipeline.runs.subjects import common_targets, open_subject, with_onnx
from secateur.pipeline.structure.storage import save


def test_a_timm_name() -> None:
    found = open_subject("test_resnet")
    assert found.inputs == InputSpec.shaped((3, 160, 160))
    assert common_targets([found]) == ["torch:cpu"]


def test_a_saved_model(tmp_path: Path) -> None:
    save(create_model("test_vit", num_classes=7), tmp_path / "small")
    found = open_subject(str(tmp_path / "small"))
    assert isinstance(found.module, nn.Module)
    assert found.module.num_classes == 7
    assert found.onnx is None


def test_an_onnx_file_and_a_module_meet_in_onnx_runtime(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"")
    file = open_subject(str(tmp_path / "a.onnx"))
    module = Subject("m", nn.Flatten(), inputs=InputSpec.shaped((3, 4, 4)))
    assert common_targets([file]) == ["onnxruntime:cpu"]
    assert common_targets([file, module]) == ["onnxruntime:cpu"]
    made = with_onnx(module, ["torch:cpu", "onnxruntime:cpu"], tmp_path)
    assert made.onnx is not None
    assert made.onnx.is_file()
    assert with_onnx(file, ["onnxruntime:cpu"], tmp_path) is file


def test_an_engine_without_description_needs_its_target_named(tmp_path: Path) -> None:
    path = tmp_path / "a.engine"
    path.write_bytes(b"ftrt")
    with pytest.raises(BenchError, match="--target tensorrt"):
        open_subject(str(path))
    with pytest.raises(BenchError, match=r"onnxruntime:cpu and torch:cpu open no engine files: say what it was built"):
        open_subject(str(path), ["onnxruntime:cpu", "torch:cpu"])
    found = open_subject(str(path), ["tensorrt", "torch:cpu"])
    assert found.engines == {"tensorrt": path}
    assert common_targets([found]) == ["tensorrt"]
    with pytest.raises(BenchError, match="no target in common"):
        common_targets([found, Subject("m", nn.Flatten(), inputs=InputSpec.shaped((3, 4, 4)))])


def test_what_is_nothing_of_these(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="did you mean"):
        open_subject("test_resnett")
    with pytest.raises(BenchError, match="there is no file"):
        open_subject(str(tmp_path / "absent.onnx"))
    with pytest.raises(BenchError, match="does not exist"):
        open_subject(str(tmp_path / "absent"))
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(BenchError, match="no model"):
        open_subject(str(tmp_path / "notes.txt"))
    with pytest.raises(ModelError, match="holds no"):
        open_subject(str(tmp_path))


@pytest.mark.parametrize("content", [b"", bytes(4096)])
def test_an_engine_of_zeros_is_refused_before_a_target_is_looked_for(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.engine").write_bytes(content)
    with pytest.raises(BenchError, match=r"x\.engine begins with zeros or is empty"):
        open_subject(str(tmp_path / "x.engine"), ["tensorrt"])
    (tmp_path / "x.engine").write_bytes(b"ftrt" + bytes(60))
    assert set(open_subject(str(tmp_path / "x.engine"), ["tensorrt"]).engines) == {"tensorrt"}
