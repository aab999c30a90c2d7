"""An engine of TensorRT without PyTorch, on stand-ins for the module and the driver: outputs and every refusal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secateur.export.runner.cuda import Cuda
from secateur.export.runner.errors import InferenceError, UnavailableError, WrongEngineError
from secateur.export.runner.trt_model import TrtModel
from tests.export.fake_trt import make_module
from tests.export.runner.fake_driver import FakeDriver


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "model.engine"
    path.write_bytes(b"plan")
    return path


def test_outputs_are_those_of_the_inputs(plan: Path) -> None:
    driver = FakeDriver()
    array = np.random.default_rng(0).normal(size=(3, 2, 3)).astype(np.float32)
    with TrtModel(make_module(), plan, Cuda(driver)) as model:
        assert [str(one) for one in (*model.inputs, *model.outputs)] == [
            "input float32 [batch, 2, 3]",
            "total float32 [batch]",
        ]
        for _ in range(2):
            np.testing.assert_allclose(model.run({"input": array})["total"], array.reshape(3, -1).sum(1), rtol=1e-5)
        call = model.prepare({"input": array})
        call()
        assert len(driver.blocks) == 2
    assert not driver.blocks
    with pytest.raises(InferenceError, match="the engine is closed"):
        call()
    model.close()


@pytest.mark.parametrize(
    ("refuse", "words"),
    [
        ("runtime", "TensorRT cannot start on this machine"),
        ("context", "cannot make a context"),
        ("shape", r"the shape of 'total' depends on the data, \[-1\]"),
        ("address", "refuses the memory of 'input'"),
        ("run", "cannot run the engine"),
    ],
)
def test_refusals(plan: Path, refuse: str, words: str) -> None:
    with pytest.raises(InferenceError, match=words), TrtModel(make_module(refuse), plan, Cuda(FakeDriver())) as model:
        model.run({"input": np.ones((1, 2, 3), np.float32)})


def test_a_plan_for_newer_versions_needs_the_lean_runtime_of_its_own(plan: Path) -> None:
    asked: list[str] = []
    module = make_module()

    class Runtime(module.Runtime):  # type: ignore[misc, name-defined]  # the stand-in's class is made at run time
        def load_runtime(self, library: str) -> object:
            asked.append(library)
            return self if library.endswith(".10") else None

    module.Runtime = Runtime  # type: ignore[attr-defined]
    array = {"input": np.ones((1, 2, 3), np.float32)}
    with TrtModel(module, plan, Cuda(FakeDriver()), lean="10.3.0", dla=True) as model:
        assert model.run(array)["total"].tolist() == [6.0]
    with pytest.raises(UnavailableError, match=r"lean runtime libnvinfer_lean\.so\.9 does not load"):
        TrtModel(module, plan, Cuda(FakeDriver()), lean="9.1")
    assert asked == ["libnvinfer_lean.so.10", "libnvinfer_lean.so.9"]


def test_an_engine_of_another_gpu(plan: Path) -> None:
    with pytest.raises(WrongEngineError, match=r"cannot load model.engine \(.*the plan is of another GPU\)"):
        TrtModel(make_module("engine"), plan, Cuda(FakeDriver()))


def test_a_batch_that_is_too_large(plan: Path) -> None:
    model, words = (
        TrtModel(make_module(), plan, Cuda(FakeDriver())),
        r"from \[1, 2, 3\] to \[4, 2, 3\], but \[5, 2, 3\]",
    )
    with model, pytest.raises(InferenceError, match=words):
        model.run({"input": np.ones((5, 2, 3), np.float32)})
