"""What can be built and run: on this machine, and on ones that are made up."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from types import ModuleType

import pytest

from secateur.export import capabilities
from secateur.export.capabilities import Ability, examine
from secateur.export.machine import Gpu
from secateur.export.targets import all_targets
from tests.export.fake_trt_builder import make_builder


def _by_name() -> dict[str, Ability]:
    return {ability.target: ability for ability in examine().targets}


def test_every_target_is_judged_and_what_is_missing_is_said() -> None:
    machine = examine()
    assert [ability.target for ability in machine.targets] == [str(target) for target in all_targets()]
    for ability in machine.targets:
        assert ability.advice or ability.run
        assert bool(ability.precisions) == (ability.build or ability.run)
        assert "\n" not in ability.advice
    assert dict.fromkeys(package.name for package in machine.packages if package.usable).keys() >= {"torch", "timm"}


def test_a_machine_without_gpu_driver_or_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "driver_and_gpus", lambda: ("", ()))
    monkeypatch.setattr(capabilities, "torch_cuda", lambda: ("12.6", ()))
    monkeypatch.setattr(
        capabilities.importlib.util, "find_spec", lambda name: None if name in hidden else find_spec(name)
    )
    hidden = {"onnxruntime", "tensorrt", "tensorrt_rtx", "pycuda"}
    found = _by_name()
    assert {name for name, ability in found.items() if ability.build or ability.run} == {"torch:cpu"}
    assert found["tensorrt_rtx:sm_86"].advice == "tensorrt_rtx is not installed: `pip install 'secateur[rtx]'`"
    assert "there is no NVIDIA driver" in found["torch:cuda"].advice
    assert "secateur[gpu]" in found["tensorrt"].advice
    assert "no NVIDIA driver" in found["tensorrt"].advice


@pytest.mark.skipif(find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed")
def test_a_machine_with_an_ampere_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu("NVIDIA RTX A2000", "sm_86", 6138)
    monkeypatch.setattr(capabilities, "driver_and_gpus", lambda: ("535.1", (gpu,)))
    monkeypatch.setattr(capabilities, "torch_cuda", lambda: ("12.6", (gpu,)))
    monkeypatch.setattr(capabilities, "_providers", lambda: ("CUDAExecutionProvider", "CPUExecutionProvider"))
    monkeypatch.setitem(sys.modules, "tensorrt", _module("tensorrt", "10.3.0"))
    found = _by_name()
    runnable = {"tensorrt", "tensorrt_rtx:sm_86", "onnxruntime:cpu", "onnxruntime:cuda", "torch:cpu", "torch:cuda"}
    assert {name for name, ability in found.items() if ability.run} == runnable
    assert found["tensorrt"].precisions == ("fp32", "fp16", "bf16")
    assert found["tensorrt_rtx:sm_75"] == Ability(
        "tensorrt_rtx:sm_75",
        True,
        False,
        ("fp16",),
        "builds here; an engine runs only on a GPU of sm_75, this is sm_86",
    )


@pytest.mark.parametrize(
    ("version", "cores", "runs", "words"),
    [
        ("11.4.1", 2, True, ""),
        ("11.4.1", 0, False, "this is Jetson Orin: TensorRT 10.3 on JetPack 6"),
        ("11.3.0", 2, False, "TensorRT from 10.3 to before 10.8 or 11.4.1 and newer"),
    ],
)
def test_an_orin(version: str, cores: int, runs: bool, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu("Orin", "sm_87", 0)
    monkeypatch.setattr(capabilities, "driver_and_gpus", lambda: ("540.4", (gpu,)))
    monkeypatch.setattr(capabilities, "torch_cuda", lambda: ("12.6", (gpu,)))
    trt = make_builder(version, cores)[0]
    trt.__spec__ = find_spec("json")
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    machine = examine()
    found = {ability.target: ability for ability in machine.targets}
    assert found["tensorrt"].run and found["tensorrt:dla"].run == runs
    assert words in found["tensorrt:dla"].advice
    assert machine.features["tensorrt"]["DLA"] == (version != "11.3.0")
    if "tensorrt_rtx" in machine.features:
        assert "TensorRT-RTX is not for sm_87 (Jetson Orin" in found["tensorrt_rtx:sm_86"].advice


@pytest.mark.parametrize(
    ("driver", "cuda", "words"),
    [
        ("", "12.6", "there is no NVIDIA driver"),
        ("535.1", "", "this PyTorch has no CUDA"),
        ("470.1", "13.2", "PyTorch for CUDA 13.2 sees no GPU under the driver 470.1: update the driver"),
    ],
)
def test_why_no_gpu_can_be_used(driver: str, cuda: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "driver_and_gpus", lambda: (driver, ()))
    monkeypatch.setattr(capabilities, "torch_cuda", lambda: (cuda, ()))
    assert words in _by_name()["torch:cuda"].advice


def _module(name: str, version: str) -> ModuleType:
    module = ModuleType(name)
    module.__version__ = version  # type: ignore[attr-defined]  # a module takes any attribute
    module.__spec__ = find_spec("json")
    return module


def test_a_package_that_does_not_load_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> ModuleType:
        if name == "onnxscript":
            raise OSError("libbroken.so: cannot open shared object file\nmore")
        return real(name)

    real = capabilities.importlib.import_module
    monkeypatch.setattr(capabilities.importlib, "import_module", refuse)
    machine = examine()
    (package,) = [package for package in machine.packages if package.name == "onnxscript"]
    assert not package.usable
    assert package.note == "libbroken.so: cannot open shared object file"
    assert any("onnxscript" in warning and "does not load" in warning for warning in machine.warnings)


def test_both_onnxruntimes_are_warned_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "_is_installed", lambda name: True)
    assert any("overwrite each other" in warning for warning in examine().warnings)
    monkeypatch.setattr(capabilities, "_is_installed", lambda name: name == "onnxruntime")
    assert not any("overwrite each other" in warning for warning in examine().warnings)
