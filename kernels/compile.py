"""A kernel source as cubin or PTX, compiled by nvcc or NVRTC and cached."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from secateur.core.errors import KernelError
from secateur.core.files import write_bytes
from secateur.kernels.nvrtc import compile_with_nvrtc, nvrtc_version

ARCHITECTURES = (75, 80, 86, 87, 89, 90, 100, 110, 120)
SOURCES = ("bias_gelu", "ragged_attention", "residual_layernorm", "window_attention")
PLUGIN_SOURCE = "ragged_attention_plugin"  # for one layer, whose heads are given as macros
OPTIONS = ("-std=c++17",)
CACHE_VARIABLE = "SECATEUR_KERNEL_CACHE"
FOLDER = Path(__file__).parent / "cuda"
ENTRY = re.compile(r"^[A-Z_]+\((\w+), .*\)\n", re.M)
"""The line that makes one kernel of a source, by one of its macros."""


@dataclass(frozen=True)
class Compiled:
    """One compiled source: `image` is a cubin or PTX text, `log` is what ptxas said (empty from NVRTC)."""

    source: str
    architecture: int
    form: str
    image: bytes
    log: str
    compiler: str


def compile_kernel(
    source: str, architecture: int, form: str = "cubin", defines: tuple[str, ...] = (), kernel: str = ""
) -> Compiled:
    """`cuda/<source>.cu` for compute capability `architecture` (86 for 8.6), as `cubin` or `ptx`.

    With `kernel`, that one kernel of the source and no other: all of them take minutes on a small CPU. `defines` are
    `NAME=value` macros. nvcc is taken where it is on the PATH or under CUDA_HOME, otherwise NVRTC. The result is cached
    in `cache_folder()` by the content of the source and of all headers, the options and the compiler's version. Raises
    `KernelError` with the compiler's first complaint, for a kernel that the source has not, or when there is no
    compiler.
    """
    if source not in (*SOURCES, PLUGIN_SOURCE):
        known = ", ".join((*SOURCES, PLUGIN_SOURCE))
        raise KernelError(f"there is no kernel source {source!r}: choose one of {known}")
    if architecture not in ARCHITECTURES:
        built = ", ".join(map(str, ARCHITECTURES))
        raise KernelError(f"compute capability {architecture} was asked for, but the kernels are built for {built}")
    if form not in ("cubin", "ptx"):
        raise KernelError(f"the form {form!r} was asked for: choose cubin or ptx")
    text = _text(source, kernel, defines)
    nvcc, version = find_nvcc(), compiler_name()
    if version is None:
        raise KernelError(
            "neither nvcc nor NVRTC was found: install the CUDA toolkit, or "
            "`pip install 'cuda-bindings[all]' 'cuda-toolkit[cudart]'`"
        )
    key = _key(source, architecture, form, (*OPTIONS, *defines), version)
    place = cache_folder() / f"{kernel or source}-sm_{architecture}-{key}"
    image, log = place.with_suffix(f".{form}"), place.with_suffix(".log")
    if not (image.is_file() and log.is_file()):
        if nvcc:
            made, said = _with_nvcc(nvcc, source, text, architecture, form)
        else:
            made, said = compile_with_nvrtc(source, text, FOLDER, architecture, form, OPTIONS), ""
        write_bytes(log, said.encode())
        write_bytes(image, made)  # last: its presence says that both are whole
    return Compiled(source, architecture, form, image.read_bytes(), log.read_text(encoding="utf-8"), version)


def cache_folder() -> Path:
    """Where compiled kernels are kept: `$SECATEUR_KERNEL_CACHE`, or `secateur/kernels` in the user's cache folder."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "secateur" / "kernels"


def find_nvcc() -> Path | None:
    """The nvcc on the PATH or under CUDA_HOME, or none."""
    home = os.environ.get("CUDA_HOME")
    found = shutil.which("nvcc") or (shutil.which("nvcc", path=str(Path(home) / "bin")) if home else None)
    return Path(found) if found else None


def compiler_name() -> str | None:
    """The version of the compiler that `compile_kernel` would use, or none."""
    nvcc = find_nvcc()
    return _nvcc_version(nvcc) if nvcc else nvrtc_version()


@lru_cache(maxsize=4)
def _nvcc_version(nvcc: Path) -> str:
    done = subprocess.run([nvcc, "--version"], capture_output=True, text=True)
    if done.returncode:
        raise KernelError(f"{nvcc} --version failed ({done.stderr.strip()[:200]}): repair the CUDA toolkit")
    release = [line for line in done.stdout.splitlines() if "release" in line]
    return "nvcc " + (release[0].rsplit(" ", 1)[-1].lstrip("V") if release else "unknown")


def source_digest(source: str) -> str:
    """The SHA-256 of `cuda/<source>.cu` and of all headers, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in [FOLDER / f"{source}.cu", *sorted(FOLDER.glob("*.cuh"))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def entries_of(text: str) -> list[str]:
    """The kernels that the text of a source makes by its macros."""
    return ENTRY.findall(text)


def _text(source: str, kernel: str, defines: tuple[str, ...]) -> str:
    """The text of a source under its macros; the lines of all kernels but `kernel` are empty."""
    text = (FOLDER / f"{source}.cu").read_text(encoding="utf-8")
    if kernel and kernel not in entries_of(text):
        raise KernelError(f"{source}.cu has no kernel {kernel!r}: choose one of {', '.join(entries_of(text))}")
    if kernel:
        text = ENTRY.sub(lambda found: found[0] if found[1] == kernel else "\n", text)
    return "".join(f"#define {define.replace('=', ' ', 1)}\n" for define in defines) + "#line 1\n" + text


def _key(source: str, architecture: int, form: str, options: tuple[str, ...], version: str) -> str:
    parts = [source, str(architecture), form, *options, version, source_digest(source)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _with_nvcc(nvcc: Path, source: str, text: str, architecture: int, form: str) -> tuple[bytes, str]:
    with tempfile.TemporaryDirectory() as folder:
        out, file = Path(folder) / f"kernel.{form}", Path(folder) / f"{source}.cu"
        file.write_text(text, encoding="utf-8")
        verbose = ["-Xptxas", "-v"] if form == "cubin" else []
        command = [nvcc, f"-{form}", f"-arch=sm_{architecture}", *OPTIONS, *verbose, f"-I{FOLDER}", "-o", out, file]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        if done.returncode or not out.is_file():
            complaints = [
                line for line in (done.stderr + done.stdout).splitlines() if "error" in line or "fatal" in line
            ]
            reason = complaints[0] if complaints else f"exit status {done.returncode}"
            raise KernelError(f"nvcc could not compile {source}.cu for sm_{architecture}: {reason}")
        return out.read_bytes(), done.stderr
