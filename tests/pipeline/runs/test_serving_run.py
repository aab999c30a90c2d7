"""Files for servers, of a run in four precisions: its graphs, with what cannot be served left out and said."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from secateur.core.errors import ExportError, RunError
from secateur.core.records import write_record
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.recipe import recipe_of
from secateur.pipeline.runs.runner import open_run
from secateur.pipeline.runs.serving_run import ServingFile, serving_run
from tests.pipeline.runs.conftest import TYPED

MARK = ServingFile.NAME
pytestmark = pytest.mark.skipif(find_spec("onnxruntime") is None, reason="onnxruntime is not installed")


def test_every_precision_is_served_or_said(typed_run: Run, tmp_path: Path) -> None:
    found = serving_run(typed_run.folder, tmp_path, "digits", 4)
    assert files_in(tmp_path) == {MARK, *found.files}
    versions = ("fp32", "fp16", "bf16", "int8")
    assert {f"triton/digits_onnx/{number}/model.onnx" for number in range(1, 4)} <= {*found.files}
    config = (tmp_path / "triton" / "digits_onnx" / "config.pbtxt").read_text()
    assert "max_batch_size: 4" in config and all(f"is {precision}" in config for precision in ("fp32", "fp16", "int8"))
    for precision in ("fp32", "fp16", "int8"):
        assert f"deepstream/{precision}/config_infer.txt" in found.files
    said = {"deepstream: bf16", "triton: model.bf16.onnx"} | {
        f"triton: tensorrt_rtx:sm_86 in {precision}" for precision in versions if find_spec("tensorrt_rtx")
    }
    assert {*found.left_out} == said


def test_what_an_earlier_call_left_is_served_no_more(typed_run: Run, tmp_path: Path) -> None:
    old = ("triton/digits_onnx/9/model.onnx", "triton/digits_dla/config.pbtxt", "deepstream/fp8/model.onnx_b8.engine")
    other = "triton/another_onnx/1/model.onnx"
    for name in (*old, other):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    before = files_in(tmp_path)
    with pytest.raises(ExportError, match="digits_onnx was not written by secateur"):
        serving_run(typed_run.folder, tmp_path, "digits")
    assert files_in(tmp_path) == before
    ours = {str(Path(name).parents[-3]) for name in old if name.startswith("triton")} | {"deepstream"}
    write_record(tmp_path / MARK, "serving_folders", ServingFile(tuple(ours)))
    found = serving_run(typed_run.folder, tmp_path, "digits")
    assert files_in(tmp_path) == {MARK, *found.files, other}
    assert {*serving_run(typed_run.folder, tmp_path, "digits").files} == {*found.files}


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_run_in_which_nothing_was_done_is_refused(tmp_path: Path) -> None:
    run = open_run(tmp_path / "run", recipe_of(TYPED))
    with pytest.raises(RunError, match=r"is not up to date .*secateur build"):
        serving_run(run.folder, tmp_path / "out", "digits")
    assert not (tmp_path / "out").exists()
