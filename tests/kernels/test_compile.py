"""Compiled kernels: the cache, its key, what is refused, and NVRTC beside nvcc."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from secateur.core.errors import KernelError
from secateur.kernels import compile as compiling
from secateur.kernels.compile import (
    ARCHITECTURES,
    FOLDER,
    PLUGIN_SOURCE,
    SOURCES,
    compile_kernel,
    entries_of,
    find_nvcc,
    source_digest,
)
from secateur.kernels.heads import HeadLayout
from secateur.kernels.layer_image import layer_defines, layer_tiles
from secateur.kernels.nvrtc import nvrtc_version

need_nvcc = pytest.mark.skipif(find_nvcc() is None, reason="nvcc is not on this machine")
need_nvrtc = pytest.mark.skipif(nvrtc_version() is None, reason="NVRTC is not on this machine")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SECATEUR_KERNEL_CACHE", str(tmp_path))
    return tmp_path


@need_nvcc
def test_the_second_time_comes_from_the_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compile_kernel("bias_gelu", 86)
    assert first.image[:4] == b"\x7fELF" and "Compiling entry function" in first.log
    assert first.compiler.startswith("nvcc ")
    calls: list[object] = []
    real = subprocess.run
    monkeypatch.setattr(compiling.subprocess, "run", lambda *a, **k: calls.append(a) or real(*a, **k))
    assert compile_kernel("bias_gelu", 86) == first
    assert not calls
    (image,) = cache.glob("*.cubin")
    image.unlink()  # a killed compilation: the log is there, the image is not
    assert compile_kernel("bias_gelu", 86).image == first.image
    assert calls


@need_nvcc
def test_ptx_is_for_the_architecture_and_names_the_kernels(cache: Path) -> None:
    ptx = compile_kernel("bias_gelu", 75, "ptx").image.decode()
    assert ".target sm_75" in ptx and ".visible .entry bias_gelu_fp16(" in ptx


@need_nvcc
def test_one_kernel_of_a_source_is_compiled_alone(cache: Path) -> None:
    ptx = compile_kernel("bias_gelu", 80, "ptx", kernel="bias_gelu_fp16").image.decode()
    assert re.findall(r"\.entry (\w+)\(", ptx) == ["bias_gelu_fp16"]
    with pytest.raises(
        KernelError, match=r"bias_gelu.cu has no kernel 'bias_gelu_fp64': choose one of bias_gelu_fp32, "
    ):
        compile_kernel("bias_gelu", 80, kernel="bias_gelu_fp64")


@pytest.mark.parametrize("source", SOURCES)
def test_every_line_that_makes_a_kernel_is_found(source: str) -> None:
    """Macros that define kernels are named in capitals, and each makes one."""
    text = (FOLDER / f"{source}.cu").read_text()
    macros = re.findall(r"^#define (\w+)\(name,", text, re.M)
    made = [line for line in text.splitlines() if line.startswith(tuple(f"{macro}(" for macro in macros))]
    assert macros and len(entries_of(text)) == len(made)


@need_nvcc
def test_everything_that_matters_is_in_the_key(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "_with_nvcc", lambda *arguments: (b"an image", "what was said"))
    for options in ({}, {"defines": ("A=1",)}, {"form": "ptx"}, {"architecture": 80}, {"kernel": "bias_gelu_fp16"}):
        compile_kernel(**{"source": "bias_gelu", "architecture": 86, **options})  # type: ignore[arg-type]  # mixed
    assert len(list(cache.glob("*.log"))) == 5


def test_the_digest_covers_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(compiling.FOLDER, tmp_path / "cuda")
    monkeypatch.setattr(compiling, "FOLDER", tmp_path / "cuda")
    before = {source: source_digest(source) for source in compiling.SOURCES}
    (tmp_path / "cuda" / "device.cuh").write_text("// changed")
    assert all(source_digest(source) != digest for source, digest in before.items())
    assert len(set(before.values())) == len(before)


@need_nvcc
def test_a_compiler_error_is_one_sentence(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bias_gelu.cu").write_text("int main( { return 0; }")
    monkeypatch.setattr(compiling, "FOLDER", tmp_path)
    with pytest.raises(KernelError, match=r"nvcc could not compile bias_gelu.cu for sm_86: .*bias_gelu.cu\(1\).*error"):
        compile_kernel("bias_gelu", 86)
    assert not list(cache.glob("*.cubin"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("flash", 86, "cubin"), "no kernel source 'flash': choose one of bias_gelu, ragged_attention"),
        (("bias_gelu", 60, "cubin"), "compute capability 60 was asked for, but the kernels are built for 75, 80"),
        (("bias_gelu", 86, "sass"), "the form 'sass' was asked for: choose cubin or ptx"),
    ],
)
def test_what_is_not_known_is_refused(arguments: tuple[str, int, str], message: str) -> None:
    with pytest.raises(KernelError, match=message):
        compile_kernel(*arguments)


def test_no_compiler_at_all(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "find_nvcc", lambda: None)
    monkeypatch.setattr(compiling, "nvrtc_version", lambda: None)
    with pytest.raises(KernelError, match="neither nvcc nor NVRTC was found: install"):
        compile_kernel("bias_gelu", 86)


@need_nvrtc
def test_nvrtc_compiles_what_nvcc_does(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "find_nvcc", lambda: None)
    layout = HeadLayout((16, 8), (8, 24), 0.5)
    defines = layer_defines(layout, "bf16", layer_tiles(layout, "bf16", 90)[0])
    made = compile_kernel(PLUGIN_SOURCE, 90, defines=("SECATEUR_KERNEL=one_layer", *defines))
    assert made.image[:4] == b"\x7fELF" and made.compiler.startswith("nvrtc ")
    assert b"one_layer" in made.image


def test_the_architectures_are_those_of_the_issue() -> None:
    assert ARCHITECTURES == (75, 80, 86, 87, 89, 90, 100, 110, 120)
