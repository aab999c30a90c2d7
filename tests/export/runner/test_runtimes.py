"""A graph by ONNX Runtime: outputs, inputs that do not fit, files that do not load, packages that are not here."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from secateur.export.runner.errors import InferenceError, UnavailableError
from secateur.export.runner.runtimes import import_runtime, open_model
from tests.export.conftest import needs_ort

FEEDS = {"input": np.ones((2, 1, 4, 4), np.float32)}


@needs_ort
def test_outputs_and_a_prepared_call(made_bundle: Path) -> None:
    with open_model(made_bundle / "onnx" / "model.fp32.onnx", "onnxruntime:cpu", 1) as model:
        assert [str(one) for one in (*model.inputs, *model.outputs)] == [
            "input float32 [batch, 1, 4, 4]",
            "logits float32 [batch, 3]",
        ]
        assert model.run(FEEDS)["logits"].shape == (2, 3)
        model.prepare(FEEDS)()
        for feeds, words in (
            ({}, "takes the inputs"),
            ({"input": np.ones((2, 1, 4, 4))}, "float64"),
            ({"input": np.ones((2, 1, 4, 5), np.float32)}, r"\[2, 1, 4, 5\] was given"),
        ):
            with pytest.raises(InferenceError, match=words):
                model.run(feeds)


@needs_ort
def test_a_file_that_does_not_load(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"x")
    with pytest.raises(InferenceError, match=r"x\.onnx is not a readable ONNX model"):
        open_model(tmp_path / "x.onnx", "onnxruntime:cpu")
    onnx.save(helper.make_model(helper.make_graph([helper.make_node("None", [], [])], "", [], [])), tmp_path / "x.onnx")
    with pytest.raises(InferenceError, match=r"cannot load x\.onnx"):
        open_model(tmp_path / "x.onnx", "onnxruntime:cpu")
    with pytest.raises(UnavailableError, match="has no CUDAExecutionProvider"):
        open_model(tmp_path / "x.onnx", "onnxruntime:cuda")


@needs_ort
def test_nothing_is_printed_for_a_graph_that_onnx_runtime_tries_twice(
    made_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import onnxruntime

    def fails(*arguments: object, **options: object) -> None:
        print("EP Error")
        raise ValueError("invalid start byte")

    monkeypatch.setattr(onnxruntime, "InferenceSession", fails)
    with pytest.raises(InferenceError, match=r"cannot load model\.fp32\.onnx \(invalid start byte\)"):
        open_model(made_bundle / "onnx" / "model.fp32.onnx", "onnxruntime:cpu")
    assert capsys.readouterr().out == ""


def test_a_package_that_is_not_here_or_does_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for runtime in ("tensorrt", "tensorrt_rtx", "onnxruntime"):
        monkeypatch.delitem(sys.modules, runtime, raising=False)
    with pytest.raises(UnavailableError, match=r"TensorRT is not installed for this Python: `pip install tensorrt`"):
        import_runtime("tensorrt")
    (tmp_path / "tensorrt_rtx.py").write_text("raise OSError('libnvinfer.so: no such file')")
    with pytest.raises(UnavailableError, match=r"does not load .libnvinfer\.so: no such file"):
        import_runtime("tensorrt_rtx")
