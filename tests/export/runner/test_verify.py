"""The verdict on a bundle: the order of the checks, what each finds, and the exit codes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.export.bundle.contents import Contents, EngineOf
from secateur.export.bundle.make import write_bundle
from secateur.export.runner import verify as module
from secateur.export.runner.bench import Times
from secateur.export.runner.bundle import open_bundle
from secateur.export.runner.errors import BundleError, InferenceError, RunnerError, UnavailableError, WrongEngineError
from secateur.export.runner.golden import golden_inputs
from secateur.export.runner.machine import Here, this_machine
from secateur.export.runner.preprocess import parse_preprocessing
from secateur.export.runner.runtimes import open_model
from secateur.export.runner.sensors.conditions import Conditions
from secateur.export.runner.verify import Check, Verdict, verify, with_conditions
from tests.export.conftest import needs_ort
from tests.export.small_bundle import make_engine

pytestmark = needs_ort
HERE = this_machine()
RTX = dataclasses.replace(HERE, gpu="RTX A4000", capability="sm_86")


def versions(runtime: str) -> str:
    return {"tensorrt_rtx": "1.7.1", "onnxruntime": "1.20"}[runtime]


def no_rtx(runtime: str) -> str:
    if runtime == "tensorrt_rtx":
        raise UnavailableError("TensorRT-RTX is not installed")
    return "1.20"


def as_onnx(path: Path, target: str, threads: int | None, lean: str) -> Any:
    """Engines of TensorRT stand for the graph in fp32."""
    root = next(parent for parent in path.parents if (parent / "onnx").is_dir())
    return open_model(root / "onnx" / "model.fp32.onnx" if path.suffix == ".engine" else path, "onnxruntime:cpu", 1)


def outcomes(verdict: Verdict) -> list[tuple[str, str, str]]:
    return [(check.name, check.where, check.outcome) for check in verdict.checks]


@pytest.fixture
def as_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides take a microsecond, whatever they are."""
    monkeypatch.setattr(module, "measure", lambda *arguments, **options: Times((1000,) * 20, (1000,) * 20))


def test_all_checks_in_their_order(made_bundle: Path) -> None:
    found = verify(made_bundle, seconds=1e-9, here=HERE, versions=no_rtx)
    assert outcomes(found)[:-2] == [
        ("checksums", "linear", "pass"),
        ("engine", "tensorrt_rtx:sm_86", "skipped"),
        ("engine", "onnxruntime:cpu", "pass"),
        ("engine", "onnxruntime:cpu@fp16", "pass"),
        ("preprocessing", "", "pass"),
        ("golden", "onnxruntime:cpu", "pass"),
        ("golden", "onnxruntime:cpu@fp16", "pass"),
    ]
    assert outcomes(found)[-1] == ("latency", "onnxruntime:cpu@fp16", "skipped")
    assert "no dense model to compare with" in found.checks[-1].said
    assert json.loads(json.dumps(found.to_json()))["schema"] == "secateur.verify/1"
    assert len(found.lines()) == len(found.checks) + 1


@pytest.mark.parametrize(
    ("dense_ns", "outcome", "code"), [(2000, "pass", 0), (1000, "pass", 0), (800, "fail", 1), (None, "inconclusive", 3)]
)
def test_the_ratio_is_judged_by_the_evidence(
    made_bundle: Path, monkeypatch: pytest.MonkeyPatch, dense_ns: int | None, outcome: str, code: int
) -> None:
    wild = (500,) * 10 + (2000,) * 10
    times = Times((1000,) * 20, wild if dense_ns is None else (dense_ns,) * 20)
    monkeypatch.setattr(module, "measure", lambda *arguments, **options: times)
    found = verify(made_bundle, ["onnxruntime:cpu"], here=HERE)
    assert outcomes(found)[-1] == ("latency", "onnxruntime:cpu", outcome)
    assert found.exit_code == code
    assert outcome == "pass" or found.sentence.startswith(f"{outcome}: latency onnxruntime:cpu: ")


def test_another_machine_is_measured_and_not_judged(made_bundle: Path, as_fast: None) -> None:
    other = dataclasses.replace(HERE, cpu_model="Cortex-A78")
    (*_, check) = verify(made_bundle, ["onnxruntime:cpu"], here=other).checks
    assert (check.outcome, check.value is not None) == ("skipped", True)
    assert "not judged by the evidence" in check.said and "Cortex-A78" in check.said
    (*_, check) = verify(made_bundle, ["onnxruntime:cpu"], threads=2, here=HERE).checks
    assert check.outcome == "skipped" and "with 1 threads, and these are 2" in check.said


@pytest.mark.parametrize(("dense_ns", "outcome", "code"), [(800, "fail", 1), (None, "inconclusive", 3)])
def test_what_is_slower_than_dense_does_not_pass_on_another_machine_either(
    made_bundle: Path, monkeypatch: pytest.MonkeyPatch, dense_ns: int | None, outcome: str, code: int
) -> None:
    wild = (500,) * 10 + (2000,) * 10
    times = Times((1000,) * 20, wild if dense_ns is None else (dense_ns,) * 20)
    monkeypatch.setattr(module, "measure", lambda *arguments, **options: times)
    found = verify(made_bundle, ["onnxruntime:cpu"], here=dataclasses.replace(HERE, cpu_model="Cortex-A78"))
    assert outcomes(found)[-1] == ("latency", "onnxruntime:cpu", outcome)
    assert (found.exit_code, "dense must not be the faster one" in found.sentence) == (code, True)


def test_latency_that_was_not_asked_for_is_said(made_bundle: Path) -> None:
    found = verify(made_bundle, ["onnxruntime:cpu"], latency=False, here=HERE)
    assert found.checks[-1].said == "not checked: it was not asked for"
    assert (found.outcome, found.exit_code) == ("pass", 0)


def test_an_engine_for_this_gpu_is_replayed(made_bundle: Path) -> None:
    found = verify(made_bundle, here=RTX, versions=versions, latency=False, opening=as_onnx)
    assert ("golden", "tensorrt_rtx:sm_86", "pass") in outcomes(found)


@pytest.mark.parametrize(
    ("here", "built", "words"),
    [
        (dataclasses.replace(RTX, capability="sm_89"), "1.7.1", "was built for sm_86, and here is sm_89 (RTX A4000)"),
        (RTX, "1.6.0", "was built with TensorRT-RTX 1.7.1, and here is TensorRT-RTX 1.6.0"),
    ],
)
@pytest.mark.parametrize("targets", [[], ["tensorrt_rtx:sm_86"]])
def test_an_engine_of_another_device_is_refused(
    made_bundle: Path, here: Here, built: str, words: str, targets: list[str]
) -> None:
    found = verify(made_bundle, targets, here=here, versions=lambda runtime: built, latency=False)
    assert (found.exit_code, words in found.sentence) == (1, True)


def test_an_engine_of_another_device_beside_one_for_this_is_left_alone(contents: Contents, tmp_path: Path) -> None:
    ada = EngineOf(make_engine(tmp_path / "ada", "sm_89"))
    write_bundle(dataclasses.replace(contents, engines=[*contents.engines, ada]), tmp_path / "b")
    found = verify(tmp_path / "b", here=RTX, versions=versions, latency=False, opening=as_onnx)
    assert ("engine", "tensorrt_rtx:sm_89", "skipped") in outcomes(found)
    assert found.exit_code == 0


def test_of_engines_that_devices_built_the_one_for_here_is_replayed(contents: Contents, tmp_path: Path) -> None:
    """Both are for one target; the device's own passes, another's is left alone, and refused where it is named."""
    there = {"orin": make_engine(tmp_path / "orin", "sm_87"), "thor": make_engine(tmp_path / "thor", "sm_110")}
    infos = {name: dataclasses.replace(info, target="tensorrt", runtime="tensorrt") for name, info in there.items()}
    latency = {"tensorrt": contents.evidence.latency["onnxruntime:cpu"]}  # of the machine that made the run
    changes: Any = {
        "engines": [EngineOf(info, info, name) for name, info in infos.items()],
        "evidence": dataclasses.replace(contents.evidence, latency=latency),
    }
    write_bundle(dataclasses.replace(contents, **changes), tmp_path / "b")
    thor = dataclasses.replace(HERE, gpu="Thor", capability="sm_110")

    def built(runtime: str) -> str:
        return {"tensorrt": "1.7.1", "onnxruntime": "1.20"}[runtime]

    for targets in ([], ["tensorrt"]):
        found = verify(tmp_path / "b", targets, here=thor, versions=built, seconds=1, opening=as_onnx)
        assert ("golden", "thor/tensorrt", "pass") in outcomes(found)
        (timed,) = (check for check in found.checks if (check.name, check.where) == ("latency", "thor/tensorrt"))
        assert timed.said == "not checked: the evidence has no latency of it"
        assert (("engine", "orin/tensorrt", "skipped") in outcomes(found)) == (not targets)
    found = verify(tmp_path / "b", ["orin/tensorrt"], here=thor, versions=built, opening=as_onnx)
    assert found.exit_code == 1 and "orin/tensorrt: engines/orin/tensorrt/model.engine was built for" in found.sentence


@pytest.mark.parametrize("error", [InferenceError, WrongEngineError])
def test_an_engine_that_does_not_run_fails(made_bundle: Path, error: type[RunnerError]) -> None:
    def opening(path: Path, target: str, threads: int | None, lean: str) -> Any:
        raise error("the plan is of another GPU")

    found = verify(made_bundle, ["tensorrt_rtx:sm_86"], here=RTX, versions=versions, opening=opening)
    assert outcomes(found)[-1] == ("golden", "tensorrt_rtx:sm_86", "fail")
    assert (found.exit_code, "the plan is of another GPU" in found.sentence) == (1, True)


def test_nothing_that_runs_here_is_inconclusive(made_bundle: Path) -> None:
    def nothing(runtime: str) -> str:
        raise UnavailableError(f"{runtime} is not installed")

    found = verify(made_bundle, here=HERE, versions=nothing)
    assert (found.exit_code, "no engine of the bundle can be run" in found.sentence) == (3, True)
    found = verify(made_bundle, ["tensorrt_rtx:sm_86"], here=HERE, versions=nothing)
    assert (found.exit_code, "tensorrt_rtx is not installed" in found.sentence) == (3, True)


def repacked(contents: Contents, folder: Path, change: Callable[[Contents], Contents]) -> Path:
    """A bundle of other contents, whose checksums are right."""
    write_bundle(change(contents), folder / "b")
    return folder / "b"


def test_other_golden_images_than_inputs_fail_before_the_replay(contents: Contents, tmp_path: Path) -> None:
    place = repacked(contents, tmp_path, lambda c: dataclasses.replace(c, pictures=c.pictures[::-1]))
    found = verify(place, ["onnxruntime:cpu"], here=HERE)
    assert found.exit_code == 1
    assert found.sentence.startswith("fail: preprocessing")


def test_other_weights_than_the_golden_outputs_are_of_fail(made_bundle: Path, contents: Contents) -> None:
    """Engines whose file is right, but computes something else: those of another model, say."""

    def dense(path: Path, target: str, threads: int | None, lean: str) -> Any:
        return open_model(made_bundle / "dense" / "model.fp32.onnx", target, threads)

    found = verify(made_bundle, ["onnxruntime:cpu"], here=HERE, opening=dense)
    assert outcomes(found)[-1] == ("golden", "onnxruntime:cpu", "fail")
    assert found.exit_code == 1


class Broken:
    """A model whose outputs are no numbers."""

    def __enter__(self) -> Broken:
        return self

    def __exit__(self, *details: object) -> None:
        pass

    def run(self, feeds: dict[str, Any]) -> dict[str, Any]:
        return {"logits": np.full((len(feeds["input"]), 3), np.nan)}


def test_what_is_no_number_fails_and_the_verdict_is_json(made_bundle: Path) -> None:
    found = verify(made_bundle, ["onnxruntime:cpu"], here=HERE, opening=lambda *words: Broken())
    assert outcomes(found)[-1] == ("golden", "onnxruntime:cpu", "fail")
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["exit_code"] == 1
    with open_bundle(made_bundle) as bundle:
        recipe, inputs = parse_preprocessing(bundle.read("preprocessing.json")), golden_inputs(bundle)
        odd = {"input": np.full_like(inputs["input"], np.nan)}
        assert module._preprocessing(bundle, recipe, odd).outcome == "fail"


def test_what_no_verdict_can_be_given_on(bundle: Path) -> None:
    with pytest.raises(RunnerError, match="has no engine for 'tpu'"):
        verify(bundle, ["tpu"])
    (bundle / "labels.json").unlink()
    with pytest.raises(BundleError, match=r"labels\.json is missing"):
        verify(bundle)


@pytest.mark.parametrize(
    ("throttled", "faults", "latency", "outcome"),
    [
        ((), (), "pass", "pass"),
        (("gpu capped",), (), "pass", "inconclusive"),
        (("gpu capped",), (), "fail", "inconclusive"),
        (("gpu capped",), (), "skipped", "skipped"),
        ((), ("the watcher died",), "pass", "skipped"),
        (("gpu capped",), ("the watcher died",), "pass", "inconclusive"),
    ],
)
def test_what_a_device_was_like_is_judged_where_latency_is(
    throttled: tuple[str, ...], faults: tuple[str, ...], latency: str, outcome: str
) -> None:
    before = Verdict("linear", (Check("golden", "x", "pass", ""), Check("latency", "x", latency, "")))
    found = with_conditions(before, Conditions({}, (), (), throttled, faults, {}))
    assert found.checks[:2] == before.checks and found.checks[2].outcome == outcome
    assert all(sentence in found.checks[2].said for sentence in (*throttled, *faults))
    assert found.to_json()["conditions"]["throttled"] == throttled
