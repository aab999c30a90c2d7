"""Running an engine: the order of calls and every refusal, on a stand-in; on a real GPU where there is one."""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from secateur.core.errors import EngineError, UnsupportedError
from secateur.export.engines import build_engine, open_engine
from secateur.export.trt_engine import TrtEngine, gpu_capability
from tests.export.conftest import needs_rtx, small_vit
from tests.export.fake_trt import make_module


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "model.engine"
    path.write_bytes(b"plan")
    return path


@pytest.mark.parametrize("batch", [1, 3, 4])
def test_outputs_are_those_of_the_inputs(plan: Path, batch: int) -> None:
    array = np.random.default_rng(batch).normal(size=(batch, 2, 3)).astype(np.float32)
    with TrtEngine(make_module(), plan, "cpu") as engine:
        assert [str(tensor) for tensor in (*engine.inputs, *engine.outputs)] == [
            "input float32 [batch, 2, 3]",
            "total float32 [batch]",
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            array.flags.writeable = False
            result = engine.infer({"input": array})
    np.testing.assert_allclose(result["total"], array.reshape(batch, -1).sum(1), rtol=1e-5)


def test_a_prepared_call_runs_each_time_and_ends_with_the_engine(plan: Path) -> None:
    engine = TrtEngine(make_module(), plan, "cpu")
    call = engine.prepare({"input": np.ones((2, 2, 3), np.float32)})
    for _ in range(3):
        call()
    assert engine._context.runs == 3
    engine.close()
    engine.close()
    for use in (call, lambda: engine.infer({"input": np.ones((2, 2, 3), np.float32)})):
        with pytest.raises(EngineError, match="the engine is closed"):
            use()


def test_a_copied_run_takes_what_the_inputs_hold_now_and_brings_the_outputs(plan: Path) -> None:
    array = np.ones((2, 2, 3), np.float32)
    with TrtEngine(make_module(), plan, "cpu") as engine:
        copied = engine.prepare({"input": array}, "copied")
        array[1] = 2
        assert copied()["total"].tolist() == [6, 12]  # type: ignore[index]
        array[:] = 0
        assert copied()["total"].tolist() == [0, 0]  # type: ignore[index]
        with pytest.raises(UnsupportedError, match="CUDA graphs are for GPUs"):
            engine.prepare({"input": array}, "graph")


def test_work_is_left_on_the_stream_and_a_graph_is_captured_there(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for the stream: nothing waits in a run, which events on the stream time."""
    done: list[str] = []

    class Stream:
        cuda_stream = 0

        def synchronize(self) -> None:
            done.append("wait")

        def wait_stream(self, other: object) -> None:
            done.append("after the copies")

    class Graph:
        def replay(self) -> None:
            done.append("replay")

    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, stream: contextlib.nullcontext(done.append("capture")))
    monkeypatch.setattr(torch.cuda, "stream", contextlib.nullcontext)
    engine = TrtEngine(make_module(), plan, "cpu")
    engine.stream = Stream()
    inputs = {"input": np.ones((1, 2, 3), np.float32)}
    engine.prepare(inputs)()
    assert (done, engine._context.runs) == (["after the copies"], 1)
    done.clear()
    replay = engine.prepare(inputs, "graph")
    replay()
    assert (done, engine._context.runs) == (["after the copies", "wait", "capture", "replay"], 3)
    engine.close()
    with pytest.raises(EngineError, match="the engine is closed"):
        replay()


@pytest.mark.parametrize(
    ("refuse", "words"),
    [
        ("engine", r"cannot load .*model.engine \(the plan is of another GPU\)"),
        ("runtime", "TensorRT cannot start on this machine"),
        ("context", "cannot make a context"),
        ("shape", r"the shape of 'total' depends on the data, \[-1\]: it cannot be allocated"),
        ("address", "refuses the memory of 'input'"),
        ("run", "cannot run the engine"),
    ],
)
def test_every_refusal_is_an_error(plan: Path, refuse: str, words: str) -> None:
    with pytest.raises(EngineError, match=words), TrtEngine(make_module(refuse), plan, "cpu") as engine:
        engine.infer({"input": np.ones((1, 2, 3), np.float32)})


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"input": np.ones((5, 2, 3), np.float32)}, r"takes 'input' from \[1, 2, 3\] to \[4, 2, 3\], but \[5, 2, 3\]"),
        ({"input": np.ones((1, 2, 4), np.float32)}, r"takes input float32 \[batch, 2, 3\], but float32 \[1, 2, 4\]"),
        ({"input": np.ones((1, 2), np.float32)}, r"but float32 \[1, 2\]"),
        ({"input": np.ones((1, 2, 3))}, r"but float64 \[1, 2, 3\]"),
        ({"image": np.ones((1, 2, 3), np.float32)}, r"takes the inputs \['input'\], but \['image'\]"),
        ({}, r"but \[\] were given"),
    ],
)
def test_inputs_that_do_not_fit(plan: Path, inputs: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(EngineError, match=words), TrtEngine(make_module(), plan, "cpu") as engine:
        engine.infer(inputs)


@needs_rtx
@pytest.mark.skipif(
    gpu_capability() not in ("sm_75", "sm_80", "sm_86", "sm_89", "sm_120", "sm_121"),
    reason="no GPU here that TensorRT-RTX builds for",
)
def test_a_real_engine_gives_the_logits_of_pytorch(onnx_files: dict[str, Path], tmp_path: Path) -> None:
    info = build_engine(onnx_files["fp16"], f"tensorrt_rtx:{gpu_capability()}", tmp_path)
    assert info.inspected == "engine"
    images = torch.randn(3, 3, 32, 32)
    with open_engine(info.folder) as engine, torch.no_grad():
        logits = engine.infer({"input": images.numpy()})["logits"]
        expected = small_vit()(images).numpy()
    assert np.abs(logits - expected).max() <= 2e-2 * np.abs(expected).max()
