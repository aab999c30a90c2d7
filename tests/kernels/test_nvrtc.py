"""NVRTC through NVIDIA's bindings: cubin and PTX without a driver, and whatever is missing as one sentence."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from secateur.core.errors import KernelError
from secateur.kernels import nvrtc
from secateur.kernels.compile import FOLDER, OPTIONS
from secateur.kernels.nvrtc import compile_with_nvrtc, nvrtc_version

need_nvrtc = pytest.mark.skipif(nvrtc_version() is None, reason="NVRTC is not on this machine")


@pytest.fixture
def asked_anew() -> Iterator[None]:
    """The version is asked again, and again after the test."""
    nvrtc_version.cache_clear()
    yield
    nvrtc_version.cache_clear()


@need_nvrtc
@pytest.mark.parametrize(("form", "architecture"), [("cubin", 86), ("ptx", 75)])
def test_both_forms_are_compiled_for_their_architecture(form: str, architecture: int) -> None:
    text = (FOLDER / "bias_gelu.cu").read_text()
    image = compile_with_nvrtc("bias_gelu", text, FOLDER, architecture, form, OPTIONS)
    if form == "cubin":
        assert image[:4] == b"\x7fELF" and b"bias_gelu_bf16" in image
    else:
        assert b".entry bias_gelu_bf16(" in image and b".target sm_75" in image and not image.endswith(b"\0")


@need_nvrtc
def test_an_error_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match=r"NVRTC could not compile broken.cu for sm_86: .*error") as caught:
        compile_with_nvrtc("broken", "int f( { return 0; }", tmp_path, 86, "cubin", OPTIONS)
    assert "\n" not in str(caught.value)


@need_nvrtc
def test_an_option_that_nvrtc_does_not_know_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match=r"NVRTC could not compile empty.cu for sm_86: .*--no-such-option"):
        compile_with_nvrtc("empty", "", tmp_path, 86, "cubin", ("--no-such-option",))


def test_nvrtc_compiles_in_a_process_without_pytorch() -> None:
    """PyTorch loads what NVRTC looks for; without it the locator has to."""
    code = (
        "import sys\nfrom secateur.kernels.compile import FOLDER, OPTIONS\n"
        "from secateur.kernels.nvrtc import compile_with_nvrtc, nvrtc_version\n"
        "if nvrtc_version() is None: sys.exit('none')\n"
        "text = (FOLDER / 'bias_gelu.cu').read_text()\n"
        "assert compile_with_nvrtc('bias_gelu', text, FOLDER, 86, 'cubin', OPTIONS)[:4] == b'\\x7fELF'\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    if done.stderr.strip() == "none":
        pytest.skip("NVRTC is not found here without PyTorch")
    assert done.returncode == 0, done.stderr


@need_nvrtc
def test_builtins_that_are_not_found_are_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = b"nvrtc: error: failed to open libnvrtc-builtins.so.12.8.\n  Make sure that it is installed correctly."
    monkeypatch.setattr(nvrtc, "_content", lambda *arguments: said)
    with pytest.raises(
        KernelError, match=r"did not find its own built-in functions for broken\.cu: `pip install 'cuda-path"
    ):
        compile_with_nvrtc("broken", "int f( { return 0; }", tmp_path, 86, "cubin", OPTIONS)


def test_without_the_bindings_there_is_no_nvrtc(monkeypatch: pytest.MonkeyPatch, asked_anew: None) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.nvrtc", None)
    assert nvrtc_version() is None
    with pytest.raises(KernelError, match=r"NVRTC was not found: `pip install 'cuda-bindings\[all\]'`"):
        compile_with_nvrtc("a", "", Path(), 86, "cubin", ())


def test_without_the_library_there_is_no_nvrtc(monkeypatch: pytest.MonkeyPatch, asked_anew: None) -> None:
    """The bindings load it at the first call, and raise a RuntimeError where it is not found."""
    bindings = pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-bindings is not installed")

    def missing() -> None:
        raise RuntimeError("Failure finding libnvrtc.so")

    monkeypatch.setattr(bindings, "nvrtcVersion", missing)
    assert nvrtc_version() is None
