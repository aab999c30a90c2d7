"""Which engines run here: each reason why not, with what was built and what is here."""

from __future__ import annotations

import dataclasses

import pytest

from secateur.export.runner.engines import chosen, installed_version, mismatch, named, unavailable
from secateur.export.runner.errors import RunnerError, UnavailableError
from secateur.export.runner.machine import Here
from secateur.export.runner.manifest import Built
from tests.export.conftest import needs_ort

ORIN = Here("Cortex-A78", 8, "linux-aarch64", "3.10.12", "Orin", "sm_87")
CPU = dataclasses.replace(ORIN, gpu="", capability="")
PLAN = Built("tensorrt", "fp16", "engines/x", "tensorrt", "10.3.0", ("sm_87",), "linux-aarch64", 8)
GRAPH = Built("onnxruntime:cpu", "fp32", "onnx/x", "onnxruntime", "1.20")


def version(runtime: str) -> str:
    return "10.3.0"


def nothing(runtime: str) -> str:
    raise UnavailableError(f"{runtime} is not installed")


def test_an_engine_for_this_device() -> None:
    assert unavailable(PLAN, ORIN, version) == mismatch(PLAN, ORIN, version) == ""
    assert PLAN.key == "tensorrt@fp16"


def test_what_is_not_here() -> None:
    assert unavailable(PLAN, ORIN, nothing) == "tensorrt is not installed"
    assert unavailable(PLAN, CPU, version) == "there is no NVIDIA GPU with its driver here"


@needs_ort
def test_a_provider_that_is_not_here() -> None:
    assert unavailable(GRAPH, CPU) == ""
    assert "has no CUDAExecutionProvider" in unavailable(dataclasses.replace(GRAPH, target="onnxruntime:cuda"), CPU)


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        (
            dataclasses.replace(PLAN, capabilities=("sm_86", "sm_89")),
            "built for sm_86, sm_89, and here is sm_87 (Orin)",
        ),
        (dataclasses.replace(PLAN, capabilities=()), "built for an unknown GPU, and here is sm_87"),
        (dataclasses.replace(PLAN, runtime_version="11.4.0"), "with TensorRT 11.4.0, and here is TensorRT 10.3.0"),
        (dataclasses.replace(PLAN, platform="linux-x86_64"), "built for linux-x86_64, and this is linux-aarch64"),
    ],
)
def test_an_engine_of_another_device_or_version(engine: Built, words: str) -> None:
    assert words in mismatch(engine, ORIN, version)


@pytest.mark.parametrize(
    ("engine", "fits"),
    [
        (dataclasses.replace(PLAN, capabilities=("sm_80",), hardware="ampere_plus"), True),
        (dataclasses.replace(PLAN, capabilities=("sm_80",), hardware="same_capability"), False),
        (dataclasses.replace(PLAN, runtime_version="10.2.9", versions="newer"), True),
        (dataclasses.replace(PLAN, runtime_version="10.13.0", versions="newer"), False),
    ],
)
def test_engines_that_travel(engine: Built, fits: bool) -> None:
    assert (mismatch(engine, ORIN, version) == "") == fits
    assert engine.lean == (engine.runtime_version if engine.versions == "newer" else "")
    volta = dataclasses.replace(ORIN, capability="sm_72")
    assert mismatch(dataclasses.replace(engine, hardware="ampere_plus"), volta, version)


THOR = dataclasses.replace(ORIN, gpu="Thor", capability="sm_110")
THERE = (
    dataclasses.replace(PLAN, device="orin"),
    dataclasses.replace(PLAN, device="orin7", runtime_version="11.4.1"),
    dataclasses.replace(PLAN, device="thor", runtime_version="11.4.1", capabilities=("sm_110",)),
)


@pytest.mark.parametrize(
    ("here", "version", "device"), [(ORIN, "10.3.0", "orin"), (ORIN, "11.4.1", "orin7"), (THOR, "11.4.1", "thor")]
)
def test_of_engines_that_devices_built_each_runs_its_own(here: Here, version: str, device: str) -> None:
    for engines in (THERE, THERE[::-1]):
        for target in ("", "tensorrt@fp16", f"{device}/tensorrt@fp16"):
            assert chosen(engines, target, here, lambda runtime: version).device == device
    for other in {engine.name for engine in THERE} - {f"{device}/tensorrt@fp16"}:
        with pytest.raises(UnavailableError, match=rf"asked for does not run here \({other}: engines/x was built"):
            chosen(THERE, other, here, lambda runtime: version)


def test_a_device_for_which_none_was_built_is_told_why_of_each() -> None:
    ada = dataclasses.replace(ORIN, gpu="RTX 4000", capability="sm_89")
    with pytest.raises(UnavailableError, match=r"orin/tensorrt@fp16: .*for sm_87.*thor/tensorrt@fp16: .*for sm_110"):
        chosen(THERE, "", ada, version)
    assert named(THERE, "tensorrt@fp16", ada, version) == THERE[0]


def test_a_graph_runs_with_any_version() -> None:
    assert mismatch(GRAPH, CPU, version) == ""


@needs_ort
def test_the_engine_to_run() -> None:
    assert chosen((PLAN, GRAPH), "", CPU) == GRAPH
    assert named((PLAN, GRAPH), "tensorrt@fp16", CPU) == PLAN
    with pytest.raises(UnavailableError, match="asked for does not run here"):
        chosen((PLAN, GRAPH), "tensorrt@fp16", CPU)
    with pytest.raises(RunnerError, match="has no engine for 'x': it has tensorrt@fp16, onnxruntime:cpu"):
        chosen((PLAN, GRAPH), "x", CPU)
    with pytest.raises(UnavailableError, match="no engine of the bundle runs here"):
        chosen((dataclasses.replace(GRAPH, target="onnxruntime:cuda"),), "", CPU)
    assert installed_version("onnxruntime")
