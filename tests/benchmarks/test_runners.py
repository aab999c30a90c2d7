"""What is timed really runs the model, on the input and the target that were asked for, and leaves it alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from secateur.benchmarks import runners
from secateur.benchmarks.latency import CpuClock, CudaClock
from secateur.benchmarks.modes.mode import parse_mode
from secateur.benchmarks.runners import Runner, Subject, engine_runner, make_runner, torch_runner, torch_threads
from secateur.core.errors import BenchError, EngineError, MissingPackageError, UnsupportedError
from secateur.core.input_spec import InputSpec
from secateur.export.engine import Arrays, Engine, How
from secateur.export.ort_engine import OrtEngine
from secateur.export.runner.tensors import DYNAMIC, TensorInfo
from secateur.export.to_onnx import export_onnx
from tests.signatures import towers, towers_inputs

SHAPE = (3, 8, 8)
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU")


class Watched(nn.Module):
    """A convolution that records how it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.seen: list[tuple[torch.Size, bool, bool]] = []
        self.outputs: list[Tensor] = []

    def __deepcopy__(self, memo: dict[int, object]) -> Watched:
        return self

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append((x.shape, self.training, torch.is_inference_mode_enabled()))
        return self.conv(x)


class FakeEngine(Engine):
    """An engine that doubles its input."""

    def __init__(self, *inputs: TensorInfo) -> None:
        super().__init__(inputs, (TensorInfo("y", "float32", (DYNAMIC, 4)),))
        self.runs = 0
        self.closed = 0

    def _infer(self, inputs: Arrays) -> Arrays:
        return {"y": 2 * inputs["x"]}

    def _prepare(self, inputs: Arrays, how: How) -> Callable[[], None]:
        self.given, self.how = inputs, how

        def call() -> None:
            self.runs += 1
            time.sleep(0.001)

        return call

    def _close(self) -> None:
        self.closed += 1


@pytest.fixture(scope="module")
def onnx_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export_onnx(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 5)), path, input_shape=SHAPE)
    return path


def test_torch_runs_the_batch_in_evaluation_and_inference_mode() -> None:
    model = Watched()
    runner = torch_runner(model, torch.randn(5, *SHAPE))
    assert runner.clock.time_ms(runner.run) > 0
    assert model.seen == [(torch.Size((5, *SHAPE)), False, True)]


def test_the_model_keeps_its_mode_and_device() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    runner = torch_runner(model, torch.randn(2, *SHAPE))
    runner.run()
    runner.close()
    assert model.training
    assert int(model[1].num_batches_tracked) == 0


def test_onnx_runtime_runs_an_onnx_file(onnx_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    runner = make_runner(Subject("a", onnx=onnx_path), "onnxruntime:cpu", batch=3, threads=1)
    assert runner.clock.time_ms(runner.run) > 0
    runner.close()
    with pytest.raises(EngineError, match="closed"):
        runner.release.__self__.infer({})  # type: ignore[attr-defined]  # the engine behind the runner


def test_a_provider_that_is_not_there_is_an_error(onnx_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has the CUDA provider")
    with pytest.raises(EngineError, match="CUDAExecutionProvider"):
        make_runner(Subject("a", onnx=onnx_path), "onnxruntime:cuda")


def test_a_session_that_falls_back_silently_is_an_error(onnx_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda path, options, providers: real(path, options, ["CPUExecutionProvider"])
    )
    with pytest.raises(EngineError, match="silently run on CPUExecutionProvider"):
        make_runner(Subject("a", onnx=onnx_path), "onnxruntime:cuda")


def test_an_engine_is_given_the_batch_and_closed_once() -> None:
    engine = FakeEngine(TensorInfo("x", "float16", (DYNAMIC, 4)), TensorInfo("mask", "int64", (DYNAMIC, 2)))
    runner = engine_runner(engine, batch=6)
    runner.run()
    assert runner.clock.time_ms(runner.run) >= 1
    runner.close()
    runner.close()
    assert engine.runs == 2
    assert engine.closed == 1
    assert engine.given["x"].shape == (6, 4)
    assert engine.given["x"].dtype == np.float16
    assert np.ptp(engine.given["x"]) > 1
    assert not engine.given["mask"].any()


def test_whole_numbers_are_those_that_the_model_is_called_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zeros alone would look up one row of a table, or mask everything."""
    spec = InputSpec.of((torch.zeros(2, 4), torch.tensor([[3, 9], [5, 7]]), torch.ones(2, 2, dtype=torch.int64)))
    engine = FakeEngine(*(TensorInfo(name, "int64", (DYNAMIC, 2)) for name in ("ids", "mask")))
    floats = TensorInfo("x", "float32", (DYNAMIC, 4))
    engine.inputs = (floats, *engine.inputs)
    engine_runner(engine, batch=64, called_with=spec)
    assert set(engine.given["ids"].ravel().tolist()) == set(range(3, 10))
    assert engine.given["mask"].all()
    assert np.ptp(engine.given["x"]) > 1
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    path = export_onnx(towers(), tmp_path / "towers.onnx", towers_inputs()).path
    original, given = OrtEngine._prepare, dict[str, Any]()
    monkeypatch.setattr(
        OrtEngine, "_prepare", lambda self, arrays, how: given.update(arrays) or original(self, arrays, how)
    )
    make_runner(Subject("towers", onnx=path), "onnxruntime:cpu", batch=16).run()  # the file alone says it
    assert given["ids"].shape == (16, 5) and 1 <= given["ids"].min() < given["ids"].max() < 30
    assert given["mask"].all()


def test_pixels_are_random_whatever_the_module_is_called_with() -> None:
    engine = FakeEngine(TensorInfo("x", "uint8", (DYNAMIC, 8, 8, 3)))
    engine_runner(engine, batch=2, called_with=InputSpec.shaped((3, 8, 8)))
    assert engine.given["x"].shape == (2, 8, 8, 3)
    assert (engine.given["x"].min() < 20) and (engine.given["x"].max() > 235)


def test_an_engine_of_another_batch_is_refused_and_closed() -> None:
    engine = FakeEngine(TensorInfo("x", "float32", (1, 4)))
    with pytest.raises(BenchError, match=r"batch of 2 .* \[1, 4\]"):
        engine_runner(engine, batch=2)
    assert engine.closed == 1


def test_engines_are_opened_for_their_target(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[object, str, int | None]] = []

    def open_engine(path: object, target: object, *, threads: int | None) -> Engine:
        opened.append((path, str(target), threads))
        return FakeEngine(TensorInfo("x", "float32", (DYNAMIC, 4)))

    monkeypatch.setattr(runners, "open_engine", open_engine)
    subject = Subject("a", engines={"tensorrt_rtx:sm_86": Path("folder")})
    make_runner(subject, "tensorrt_rtx:sm_86", threads=1).run()
    assert opened == [(Path("folder"), "tensorrt_rtx:sm_86", 1)]


@pytest.mark.parametrize(
    ("target", "advice"), [("torch:cpu", "timm name"), ("onnxruntime:cpu", "export"), ("tensorrt", "secateur build")]
)
def test_a_form_that_was_not_made_is_an_error_with_advice(target: str, advice: str) -> None:
    with pytest.raises(BenchError, match=advice):
        make_runner(Subject("a"), target)


def test_each_precision_has_its_own_form() -> None:
    """An engine of one precision never stands in for another one's, nor the fp32 graph for a typed one."""
    subject = Subject(
        "a",
        onnx=Path("model.onnx"),
        typed_onnx={"fp16": Path("model.fp16.onnx")},
        engines={"tensorrt": Path("fp32.engine"), "tensorrt@bf16": Path("bf16.engine")},
        absent={"tensorrt@fp16": "it was not built"},
    )
    goals = (
        "onnxruntime:cpu",
        "onnxruntime:cpu@fp16",
        "onnxruntime:cpu@bf16",
        "tensorrt",
        "tensorrt@fp16",
        "tensorrt@bf16",
    )
    names = ("model.onnx", "model.fp16.onnx", None, "fp32.engine", None, "bf16.engine")
    assert [str(form) if (form := subject.form(goal)) else None for goal in goals] == list(names)
    with pytest.raises(BenchError, match=r"no ONNX file in bf16: .*export.precisions: \[bf16\]"):
        make_runner(subject, "onnxruntime:cpu@bf16")
    with pytest.raises(BenchError, match="no engine for tensorrt in fp16: it was not built"):
        make_runner(subject, "tensorrt@fp16")


@pytest.mark.parametrize(("mode", "how"), [("hot", "resident"), ("graph", "graph"), ("copies", "copied")])
def test_a_gpu_is_prepared_for_the_mode(mode: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def made(*arguments: Any) -> Runner:
        given.extend(arguments)
        return Runner(lambda: None, CpuClock())

    monkeypatch.setattr(runners, "torch_runner", made)
    model, spec = nn.Flatten(), InputSpec.shaped((3,))
    make_runner(Subject("a", model, inputs=spec), "torch:cuda", 2, seed=5, mode=parse_mode(mode))
    assert given.pop(1).equal(spec.draw(2, seed=5))
    assert given == [model, "cuda", how]


def test_an_engine_with_a_stream_is_timed_by_events_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by the host's clock, in which the end of the run is only noticed."""
    stream = SimpleNamespace(synchronize=lambda: None)
    clocks: list[Any] = []
    monkeypatch.setattr(runners, "CudaClock", lambda stream: clocks.append(stream) or "events")
    engine = FakeEngine(TensorInfo("x", "float32", (DYNAMIC, 4)))
    engine.stream = stream
    runner = engine_runner(engine, how="copied")
    assert (runner.clock, clocks, runner.done, engine.how) == ("events", [stream], stream.synchronize, "copied")


def test_cold_runs_follow_a_flush_and_counted_ones_have_sessions_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    model, flushed = Watched(), list[int]()
    monkeypatch.setattr(runners, "flusher", lambda device: lambda: flushed.append(len(model.seen)))
    subject = Subject("a", model, inputs=InputSpec.shaped(SHAPE))
    cold = make_runner(subject, "torch:cpu", mode=parse_mode("cold"))
    for _ in range(2):
        assert cold.clock.time_ms(cold.run) > 0
    assert flushed == [0, 1]
    for mode, runs in (("concurrent:3", 3), ("throughput:2", 2 * runners.RUNS)):
        model.seen.clear()
        together = make_runner(subject, "torch:cpu", mode=parse_mode(mode))
        assert together.clock.time_ms(together.run) > 0
        together.close()
        assert len(model.seen) == runs and all(inference for _, _, inference in model.seen)


def test_a_mode_that_is_nothing_for_a_target_is_refused(onnx_path: Path) -> None:
    for mode in ("copies", "graph"):
        with pytest.raises(UnsupportedError, match=r"onnxruntime:cpu (has its inputs|replays no CUDA graph)"):
            make_runner(Subject("a", onnx=onnx_path), "onnxruntime:cpu", mode=parse_mode(mode))


def test_a_missing_runtime_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    (tmp_path / "a.onnx").write_bytes(b"")
    with pytest.raises(MissingPackageError, match=r"secateur\[cpu\]"):
        make_runner(Subject("a", onnx=tmp_path / "a.onnx"), "onnxruntime:cpu")


def test_threads_are_set_for_the_block_only() -> None:
    before = torch.get_num_threads()
    with torch_threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="PyTorch sees a GPU")
def test_cuda_without_a_gpu_is_an_error() -> None:
    with pytest.raises(BenchError, match="none here"):
        torch_runner(nn.Identity(), torch.randn(1, *SHAPE), "cuda")


@gpu
@pytest.mark.parametrize("how", ["resident", "graph", "copied"])
def test_torch_on_a_gpu_leaves_the_model_on_the_cpu(how: How) -> None:
    model = nn.Conv2d(3, 4, 3)
    runner = torch_runner(model, torch.randn(2, *SHAPE), "cuda", how)
    assert isinstance(runner.clock, CudaClock)
    assert runner.clock.time_ms(runner.run) > 0
    assert model.weight.device.type == "cpu"


def test_several_inputs_are_timed_in_pytorch_and_in_onnx_runtime(tmp_path: Path) -> None:
    model, inputs = towers(), towers_inputs()
    export_onnx(model, tmp_path / "model.onnx", inputs)
    subject = Subject("towers", model, tmp_path / "model.onnx", inputs=InputSpec.of(inputs))
    for target in ("torch:cpu", "onnxruntime:cpu"):
        runner = make_runner(subject, target, 3)
        assert runner.clock.time_ms(runner.run) > 0
        runner.close()
