"""The report of all kernels: made of every source and architecture, written and read again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from secateur.core.errors import KernelError, RunError
from secateur.kernels import resource_report
from secateur.kernels.compile import SOURCES, Compiled, source_digest
from secateur.kernels.instructions import LoopCount
from secateur.kernels.resource_report import main, make_report, read_report

KERNELS = {
    "bias_gelu": "bias_gelu_fp32",
    "ragged_attention": "ragged_attention_fp16_d64",
    "residual_layernorm": "residual_layernorm_fp32",
    "window_attention": "window_attention_fp32_plain_d128",
}


def count(compiled: Compiled, kernel: str) -> LoopCount:
    return LoopCount(kernel, compiled.architecture, 300.5, 64)


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """A compiler that says what ptxas would, and notes what it was asked for."""
    asked: list[tuple[str, int]] = []

    def compile_kernel(source: str, architecture: int) -> Compiled:
        asked.append((source, architecture))
        log = (
            f"Compiling entry function '{KERNELS[source]}' for 'sm_{architecture}'\n"
            "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\nUsed 40 registers\n"
        )
        return Compiled(source, architecture, "cubin", b"", log, "nvcc 99.9")

    monkeypatch.setattr(resource_report, "compile_kernel", compile_kernel)
    monkeypatch.setattr(resource_report, "count_loop", count)
    return asked


def test_every_source_is_compiled_for_every_architecture(compiler: list[tuple[str, int]]) -> None:
    report = make_report((80, 90))
    assert sorted(compiler) == sorted((source, architecture) for source in SOURCES for architecture in (80, 90))
    assert sorted((one.kernel, one.architecture) for one in report.kernels) == sorted(
        (kernel, architecture) for kernel in KERNELS.values() for architecture in (80, 90)
    )
    assert report.compiler == "nvcc 99.9"
    assert report.loops == tuple(LoopCount("ragged_attention_fp16_d64", a, 300.5, 64) for a in (80, 90))
    assert report.sources == {source: source_digest(source) for source in SOURCES}


def test_what_is_written_is_read_again(
    compiler: list[tuple[str, int]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--out", str(tmp_path / "report.json")])
    found = read_report(tmp_path / "report.json")
    assert found == make_report()
    assert f"{len(found.kernels)} kernels written" in capsys.readouterr().out
    content = json.loads((tmp_path / "report.json").read_text())
    assert (content["schema"], content["compiler"]) == ("secateur.kernel_resources/1", "nvcc 99.9")


def test_a_source_that_does_not_compile_ends_the_report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(source: str, architecture: int) -> Compiled:
        raise KernelError("nvcc could not compile it")

    monkeypatch.setattr(resource_report, "compile_kernel", refuse)
    with pytest.raises(KernelError, match="could not compile"):
        main(["--out", str(tmp_path / "report.json")])
    assert not (tmp_path / "report.json").exists()


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text('{"schema": "secateur.bench/1"}')
    with pytest.raises(RunError, match=r"secateur.kernel_resources/1"):
        read_report(path)


@pytest.mark.parametrize("content", [{}, {"kernels": [{"kernel": "a"}]}, {"kernels": [], "new": 1}, {"kernels": 3}])
def test_a_file_that_lacks_something_is_refused(tmp_path: Path, content: dict[str, object]) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"schema": "secateur.kernel_resources/1", **content}))
    with pytest.raises(RunError, match=r"report.json is no report of kernels \(.*make it again by python -P"):
        read_report(path)
