"""Kernels compiled with g++ against the emulator, run in a process of their own under ASan and UBSan."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor, nn

import secateur.kernels.cuda as cuda
from secateur.export.onnx_info import OnnxInfo
from secateur.export.precision import PRECISIONS
from secateur.export.to_onnx import export_onnx
from secateur.kernels import launch as launching
from secateur.kernels.compile import entries_of
from secateur.kernels.variants import DeviceLimits, Launch
from tests.kernels.models import image, pruned

HERE = Path(__file__).parent
SOURCES = Path(cuda.__path__[0])
FLAGS = ["-std=c++17", "-O0", "-g1", "-Wno-unknown-pragmas"]  # optimising takes longer than it saves
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
LARGEST_FIRST = ("ragged_attention", "window_attention", "residual_layernorm", "bias_gelu")
Argument = NDArray[np.generic] | int | float | None


class Emulator:
    """Runs the kernels of one source; a sanitizer's report or a race is a `RuntimeError` with its text."""

    def __init__(self, binary: Path) -> None:
        self.binary = binary
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, launch: Launch, arguments: Sequence[Argument], order: int = 0) -> list[NDArray[np.generic]]:
        """The array arguments after the launch, in order; the caller's arrays are left as they are."""
        if self.process is None:
            self.process = subprocess.Popen(
                [self.binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        assert self.process.stdin and self.process.stdout
        dims = " ".join(map(str, (*launch.grid, *launch.block)))
        request = [f"{launch.kernel} {dims} {launch.shared_bytes} {order} {len(arguments)}\n".encode()]
        for value in arguments:
            if value is None:
                request.append(b"n\n")
            elif isinstance(value, np.ndarray):
                request += [f"p {value.nbytes}\n".encode(), np.ascontiguousarray(value).tobytes()]
            elif isinstance(value, float):
                request.append(f"f {np.float32(value).view(np.int32)}\n".encode())
            else:
                request.append(f"i {value}\n".encode())
        try:
            self.process.stdin.write(b"".join(request))
            self.process.stdin.flush()
            answer = self.process.stdout.readline().decode().strip()
        except BrokenPipeError:
            answer = ""
        if answer == "ok":
            arrays = [value for value in arguments if isinstance(value, np.ndarray)]
            return [np.frombuffer(self.process.stdout.read(a.nbytes), dtype=a.dtype).reshape(a.shape) for a in arrays]
        if answer.startswith("error "):
            raise RuntimeError(answer)
        _, report = self.process.communicate()
        self.process = None
        raise RuntimeError(report.decode(errors="replace"))

    def close(self) -> None:
        """Ends the process."""
        if self.process is not None:
            self.process.communicate()


def compile_source(text: str, folder: Path, names: Sequence[str] = (), sanitize: bool = True) -> Path:
    """The emulator of a `.cu` file's text, in `folder` under the hash of all that it is made of, and made once.

    It serves the functions `names`, or all kernels that the text declares with the macros of our sources. Without the
    sanitizers it compiles in half the time, and still reports races.
    """
    names = names or entries_of(text)
    table = ", ".join(f'{{"{name}", entry({name})}}' for name in names)
    main = f'#define SECATEUR_EMULATED 1\n{text}\n#include "server.hpp"\nint main() {{ return serve({{{table}}}); }}\n'
    folders = (SOURCES, HERE / "emulator")
    flags = [*FLAGS, *(SANITIZERS if sanitize else []), *(f"-I{path}" for path in folders)]
    headers = [path.read_text() for place in folders for path in sorted(place.glob("*.*h*"))]
    source = folder / f"{hashlib.sha256(''.join([main, *flags, *headers]).encode()).hexdigest()}.cpp"
    binary = source.with_suffix("")
    with FileLock(source.with_suffix(".lock")):  # another process of the same session may be at it
        if not binary.is_file():
            source.write_text(main)
            done = subprocess.run(["g++", *flags, str(source), "-o", str(binary)], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
    return binary


@pytest.fixture(scope="session")
def emulators(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of compiled emulators, one for all processes of the session."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "emulators"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def small() -> nn.Module:
    """The pruned ViT of `tests.kernels.models`; nobody may change it."""
    return pruned()


@pytest.fixture(scope="session")
def node_graphs(small: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> dict[str, OnnxInfo]:
    """The pruned ViT as ONNX with attention as one node, in each precision."""
    folder = tmp_path_factory.mktemp("nodes")
    return {
        precision: export_onnx(small, folder / f"{precision}.onnx", image(), precision=precision, kernels=True)
        for precision in PRECISIONS
    }


@pytest.fixture(scope="session")
def rtx() -> Any:
    """TensorRT-RTX, whose Python classes of plugins are those of TensorRT."""
    return pytest.importorskip("tensorrt_rtx")


@pytest.fixture(scope="session")
def need_gpp() -> None:
    """Skips where there is no g++ that can build for the emulator."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not on this machine, and the emulator of the kernels is compiled with it")


@pytest.fixture(scope="session")
def emulate(need_gpp: None, emulators: Path) -> Iterator[Callable[..., list[NDArray[np.generic]]]]:
    """A function that runs one launch; all sources are compiled beside the first tests."""
    running: dict[str, Emulator] = {}

    def built(source: str) -> Path:
        return compile_source((SOURCES / f"{source}.cu").read_text(), emulators)

    with ThreadPoolExecutor(2) as pool:  # all at once: the first test that needs one waits for that one only
        binaries = {source: pool.submit(built, source) for source in LARGEST_FIRST}

        def run(launch: Launch, arguments: Sequence[Argument], order: int = 0) -> list[NDArray[np.generic]]:
            if launch.source not in running:
                running[launch.source] = Emulator(binaries[launch.source].result())
            return running[launch.source].run(launch, arguments, order)

        yield run
    for emulator in running.values():
        emulator.close()


@pytest.fixture
def emulated_gpu(emulate: Callable[..., list[NDArray[np.generic]]], monkeypatch: pytest.MonkeyPatch) -> list[Launch]:
    """Makes `on_gpu` run on CPU tensors: every launch goes to the emulator and is noted in the list."""
    launches: list[Launch] = []

    def run(launch: Launch, arguments: Sequence[Tensor | int | float | None]) -> None:
        launches.append(launch)
        as_bytes = [a.view(-1).view(torch.uint8).numpy() if isinstance(a, Tensor) else a for a in arguments]
        results = iter(emulate(launch, as_bytes))
        for argument in as_bytes:
            if isinstance(argument, np.ndarray):
                argument[:] = next(results)

    monkeypatch.setattr(launching, "run", run)
    monkeypatch.setattr(launching, "device_limits", lambda device: DeviceLimits(80, 2, 163 * 1024))
    return launches


INCLUDE = re.compile(r'^#include "(\w+\.cuh)"\n', re.M)
SHARED = "device.cuh"  # includes the emulator, and is included once for all variants


@dataclass(frozen=True)
class Variant:
    """One kernel of a source, under the macros `defines` (`NAME=value`) and with a `change` (file, old text, new text).

    `name` is the kernel's name among others in one emulator.
    """

    name: str
    source: str
    kernel: str
    defines: tuple[str, ...] = ()
    change: tuple[str, str, str] | None = None

    def text(self) -> str:
        """The source with its headers in a namespace of its own, so that many variants make one program."""
        macros = [f"#undef {name}\n#define {name} {value}" for name, value in (d.split("=", 1) for d in self.defines)]
        flat = self._flat(f"{self.source}.cu", {SHARED}).splitlines()
        kept = [line for line in flat if not (made := entries_of(f"{line}\n")) or made == [self.kernel]]
        body = re.sub(rf"\b{self.kernel}\b", self.name, "\n".join([*macros, *kept]))
        return f"namespace {self.name}_ {{\n{body}\n}}\nusing {self.name}_::{self.name};\n"

    def _flat(self, file: str, there: set[str]) -> str:
        """The text of a file with the headers that are not `there` yet in the place of their includes."""
        there.add(file)
        text = (SOURCES / file).read_text()
        if self.change and self.change[0] == file:
            _, old, new = self.change
            assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
            text = text.replace(old, new)
        text = text.replace("#pragma once\n", "")
        return INCLUDE.sub(lambda found: "" if found[1] in there else self._flat(found[1], there), text)


def compile_variants(variants: Sequence[Variant], folder: Path, sanitize: bool = False) -> Path:
    """One emulator that serves the variants by their names: most of a compilation is the standard library."""
    text = f'#include "{SHARED}"\n' + "".join(variant.text() for variant in variants)
    return compile_source(text, folder, [variant.name for variant in variants], sanitize)
