"""Engines that the runner builds: graphs that ONNX Runtime opens, and plans of a stand-in for TensorRT."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from secateur.export.runner import build_here
from secateur.export.runner.errors import InferenceError, RunnerError, UnavailableError
from tests.benchmarks.tiny_graphs import tiny_graph


def test_a_graph_of_onnx_runtime_is_opened_and_comes_back_optimised(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    tiny_graph(tmp_path / "model.onnx", 2)
    job = {"target": "onnxruntime:cpu", "graph": "model.onnx", "profile": [1, 1, 8], "tf32": True}
    (tmp_path / "job.json").write_text(json.dumps(job))
    out = tmp_path / "out"
    out.mkdir()
    build_here.main([str(tmp_path / "job.json"), str(out)])
    assert sorted(path.name for path in out.iterdir()) == ["built.json", "optimised.onnx"]
    built = json.loads((out / "built.json").read_text())
    assert built["schema"] == build_here.SCHEMA and {*built["conditions"]} >= {"settings", "readings", "faults"}
    assert [node.op_type for node in onnx.load(out / "optimised.onnx", load_external_data=False).graph.node].count(
        "MatMul"
    )


def test_a_graph_that_cannot_be_built_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    (tmp_path / "job.json").write_text(json.dumps({"target": "onnxruntime:cpu", "graph": "model.onnx"}))
    with pytest.raises(SystemExit, match="is not a readable ONNX model"):
        build_here.main([str(tmp_path / "job.json"), str(tmp_path)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job.json", "model.onnx"]


class StandInTrt(SimpleNamespace):
    """As much of TensorRT 10 as a build uses; `refuse` names the step that fails."""

    def __init__(self, refuse: str = "") -> None:
        tensors = [
            SimpleNamespace(name="input", dtype="f", shape=(-1, 8)),
            SimpleNamespace(name="y", dtype="f", shape=(-1, 8)),
        ]
        self.profiles: list[Any] = []
        self.flags: list[str] = []
        network = SimpleNamespace(
            num_inputs=1, num_outputs=1, get_input=lambda index: tensors[0], get_output=lambda index: tensors[1]
        )
        config = SimpleNamespace(
            set_flag=self.flags.append,
            clear_flag=lambda flag: self.flags.append("no " + flag),
            add_optimization_profile=lambda shapes: -1 if refuse == "profile" else 0,
        )
        builder = SimpleNamespace(
            create_network=lambda flags: self.flags.append(flags) or network,  # type: ignore[func-returns-value]  # notes
            create_builder_config=lambda: config,
            create_optimization_profile=lambda: SimpleNamespace(set_shape=lambda *words: self.profiles.append(words)),
            build_serialized_network=lambda network, config: None if refuse == "build" else b"plan",
        )
        parser = SimpleNamespace(
            parse_from_file=lambda path: refuse != "parse",
            num_errors=1,
            get_error=lambda index: SimpleNamespace(desc=lambda: "an operation is not known"),
        )
        inspector = SimpleNamespace(get_engine_information=lambda kind: '{"Layers": []}')
        engine = None if refuse == "load" else SimpleNamespace(create_engine_inspector=lambda: inspector)

        class ILogger:
            ERROR, INTERNAL_ERROR = 1, 0

        def started(logger: Any) -> Any:
            if refuse == "start":
                raise TypeError("pybind11::init(): factory function returned nullptr")
            return builder

        super().__init__(
            __name__="tensorrt",
            __version__="10.3.0",
            ILogger=ILogger,
            Builder=started,
            OnnxParser=lambda network, logger: parser,
            Runtime=lambda logger: SimpleNamespace(deserialize_cuda_engine=lambda plan: engine),
            NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1),
            ProfilingVerbosity=SimpleNamespace(DETAILED="detailed"),
            LayerInformationFormat=SimpleNamespace(JSON="json"),
            BuilderFlag=SimpleNamespace(TF32="tf32"),
            nptype=lambda dtype: np.float32,
            profiles=self.profiles,
            flags=self.flags,
        )


def build(trt: Any, folder: Path, tf32: bool = True) -> Any:
    return build_here.build_plan(trt, tiny_graph(folder / "model.onnx"), [1, 2, 8], tf32)


@pytest.mark.parametrize("tf32", [True, False])
def test_a_plan_is_typed_as_its_graph_and_takes_the_batches(tmp_path: Path, tf32: bool) -> None:
    trt = StandInTrt()
    plan, layers, tensors = build(trt, tmp_path, tf32)
    assert (plan, layers) == (b"plan", '{"Layers": []}')
    assert trt.profiles == [("input", (1, 8), (2, 8), (8, 8))]
    assert trt.flags == [2, "tf32" if tf32 else "no tf32"]
    assert [str(tensor) for tensor in tensors["inputs"]] == ["input float32 [batch, 8]"]


@pytest.mark.parametrize(
    ("refuse", "kind", "said"),
    [
        ("start", UnavailableError, "cannot start its builder"),
        ("parse", InferenceError, "an operation is not known"),
        ("profile", InferenceError, "do not fit"),
        ("build", InferenceError, "cannot build model.onnx"),
        ("load", InferenceError, "cannot load what it built"),
    ],
)
def test_every_step_that_fails_is_said(tmp_path: Path, refuse: str, kind: type[RunnerError], said: str) -> None:
    with pytest.raises(kind, match=said):
        build(StandInTrt(refuse), tmp_path)


def test_tensorrt_is_given_no_graph_that_may_not_be_opened(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    with pytest.raises(InferenceError, match="is not a readable ONNX model"):
        build_here.build_plan(StandInTrt("parse"), tmp_path / "bad.onnx", [1, 2, 8], True)
