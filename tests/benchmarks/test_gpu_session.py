"""A measurement, with stand-ins for the GPU: what is written, in which order, and what an error takes with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from secateur.benchmarks import gpu_session
from secateur.benchmarks.gpu_checks import Check
from secateur.benchmarks.gpu_contenders import Contender
from secateur.benchmarks.gpu_problems import Problem, problems
from secateur.benchmarks.gpu_session import measure
from secateur.core.errors import BenchError, KernelError
from secateur.kernels.resource_report import read_report
from secateur.kernels.variants import DeviceLimits

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
KERNELS = read_report(RESULTS / "kernel_resources.json").kernels
ORIN = DeviceLimits(87, 16, 163 * 1024)


def raising(*arguments: object) -> object:
    raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")


def three(problem: Problem) -> Iterator[Contender]:
    """Ours, one that does not fit into memory, and one that is refused."""
    make = lambda: (torch.zeros(2),)  # noqa: E731  # short
    yield Contender("ours", make, lambda x: x)
    yield Contender("padded, flash", make, raising)
    yield Contender("padded, cudnn", raising, raising, lambda: "PyTorch has no cudnn kernel for it")  # type: ignore[arg-type]  # raises


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine with one AGX Orin on which every call takes 5 microseconds."""
    monkeypatch.setattr(gpu_session, "why_not", str)
    monkeypatch.setattr(gpu_session, "device_limits", lambda device: ORIN)
    monkeypatch.setattr(gpu_session, "run_checks", lambda limits: iter([Check("bias_gelu", "fp16", "1 x 1", 1e-4)]))
    monkeypatch.setattr(gpu_session, "problems", lambda: problems((1,))[:2])
    monkeypatch.setattr(gpu_session, "contenders", three)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Orin")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)

    def samples(calls: list[Any], count: int) -> list[float]:
        for call in calls:
            call()
        return [5.0] * count

    monkeypatch.setattr(gpu_session, "graph_samples_us", samples)
    return monkeypatch


def test_one_contenders_error_costs_no_others_result(gpu: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = tmp_path / "result.json"
    assert measure({"command": "suite"}, KERNELS, 3, place) == 1
    content = json.loads(place.read_text())
    assert content["complete"] and content["peak"]["name"] == "Jetson AGX Orin 64GB"
    assert [row["times_us"] for row in content["rows"]] == 2 * [
        {
            "ours": {"p50": 5.0, "samples": [5.0] * 3},
            "padded, flash": {"failure": "OutOfMemoryError: CUDA out of memory."},
            "padded, cudnn": {"refused": "PyTorch has no cudnn kernel for it"},
        }
    ]


@pytest.mark.parametrize("name", ["Orin", "NVIDIA Quantum 9000"])
def test_an_unknown_gpu_is_measured_without_rooflines(
    gpu: pytest.MonkeyPatch, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An "Orin" of eight multiprocessors may be an NX or a Nano: its user says which."""
    gpu.setattr(torch.cuda, "get_device_name", lambda: name)
    gpu.setattr(gpu_session, "device_limits", lambda device: DeviceLimits(87, 8, 163 * 1024))
    place = tmp_path / "result.json"
    measure({}, KERNELS, 3, place)
    content = json.loads(place.read_text())
    assert content["peak"] is None and not any("roofline_us" in row for row in content["rows"])
    assert f"the peaks of '{name}' are not known" in capsys.readouterr().err
    measure({}, KERNELS, 3, place, "Jetson Orin NX 16GB")
    content = json.loads(place.read_text())
    assert content["peak"]["name"] == "Jetson Orin NX 16GB" and all("roofline_us" in row for row in content["rows"])
    assert content["device"]["name"] == name


def test_what_was_measured_before_the_gpu_was_lost_is_kept(gpu: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place, seen = tmp_path / "result.json", [0]

    def lost() -> None:
        seen[0] += 1
        if seen[0] == 2:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    gpu.setattr(torch.cuda, "synchronize", lost)
    with pytest.raises(
        BenchError, match=r"context was lost at .* \(RuntimeError: CUDA error: an illegal.*result\.json"
    ):
        measure({}, KERNELS, 3, place)
    content = json.loads(place.read_text())
    assert not content["complete"] and len(content["rows"]) == 2 and len(content["checks"]) == 1


def test_the_file_is_whole_at_every_moment(gpu: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each check and each row is in it before the next begins."""
    place, sizes = tmp_path / "result.json", []

    def watched(problem: Problem) -> Iterator[Contender]:
        content = json.loads(place.read_text())
        sizes.append((len(content["checks"]), len(content["rows"]), content["complete"]))
        return three(problem)

    gpu.setattr(gpu_session, "contenders", watched)
    measure({}, KERNELS, 3, place)
    assert sizes == [(1, 0, False), (1, 1, False)]


def test_a_kernel_that_computes_wrongly_is_marked_and_counts_for_no_goal(
    gpu: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wrong = [Check("ragged_attention_d64", "fp16", "1", 0.5), Check("ragged_attention_d128", "fp16", "1", None, "NaN")]
    for check in wrong:
        gpu.setattr(gpu_session, "run_checks", lambda limits, check=check: iter([check]))
        place = tmp_path / "result.json"
        assert measure({}, KERNELS, 3, place) == 1
        content = json.loads(place.read_text())
        assert [row["checked"] for row in content["rows"]] == [False, False]
        assert set(content["goals"].values()) == {None}


def test_where_nothing_can_be_launched_nothing_is_written(gpu: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gpu.setattr(gpu_session, "why_not", lambda: "PyTorch sees no CUDA device 0 here")
    with pytest.raises(BenchError, match=r"sees no CUDA device 0 here.*use --dry"):
        measure({}, KERNELS, 3, tmp_path / "result.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [KernelError("no kernel"), RuntimeError("CUDA error: misaligned address")])
def test_what_a_contender_raises_is_its_result(error: Exception) -> None:
    def refuse() -> str:
        raise error

    found = gpu_session._time(Contender("ours", tuple, print, refuse), 1)
    assert found == {"failure": f"{type(error).__name__}: {error}"}
