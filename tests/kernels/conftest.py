"""Kernels compiled with g++ against the emulator, run in a process of their own under ASan and UBSan."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import secateur.kernels.cuda as cuda
from secateur.kernels.variants import Launch

HERE = Path(__file__).parent
SOURCES = Path(cuda.__path__[0])
FLAGS = ["-std=c++17", "-O0", "-g1", "-Wno-unknown-pragmas"]  # optimising takes longer than it saves
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
LARGEST_FIRST = ("ragged_attention", "window_attention", "residual_layernorm", "bias_gelu")
ENTRY = re.compile(r"^(?:RAGGED_(?:MMA|PLAIN)|WINDOW_(?:MMA|PLAIN)|RESIDUAL_LAYERNORM|BIAS_GELU)\((\w+),", re.M)
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
    """The emulator of a `.cu` file's text; the headers are taken from `folder` first, then from the package.

    It serves the functions `names`, or all kernels that the text declares with the macros of our sources. Without the
    sanitizers it compiles in half the time, and still reports races.
    """
    names = names or ENTRY.findall(text)
    entries = ", ".join(f'{{"{name}", entry({name})}}' for name in names)
    main = (
        f'#define SECATEUR_EMULATED 1\n{text}\n#include "server.hpp"\nint main() {{ return serve({{{entries}}}); }}\n'
    )
    source = folder / "main.cpp"
    source.write_text(main)
    binary = folder / "emulator"
    folders = [f"-I{path}" for path in (folder, SOURCES, HERE / "emulator")]
    flags = [*FLAGS, *(SANITIZERS if sanitize else [])]
    command = ["g++", *flags, *folders, str(source), "-o", str(binary)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return binary


@pytest.fixture(scope="session")
def need_gpp() -> None:
    """Skips where there is no g++ that can build for the emulator."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not on this machine, and the emulator of the kernels is compiled with it")


@pytest.fixture(scope="session")
def emulate(
    need_gpp: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., list[NDArray[np.generic]]]]:
    """A function that runs one launch; all sources are compiled beside the first tests."""
    emulators: dict[str, Emulator] = {}

    def built(source: str) -> Path:
        text = (SOURCES / f"{source}.cu").read_text()
        return compile_source(text, tmp_path_factory.mktemp(source))

    with ThreadPoolExecutor(2) as pool:  # all at once: the first test that needs one waits for that one only
        binaries = {source: pool.submit(built, source) for source in LARGEST_FIRST}

        def run(launch: Launch, arguments: Sequence[Argument], order: int = 0) -> list[NDArray[np.generic]]:
            if launch.source not in emulators:
                emulators[launch.source] = Emulator(binaries[launch.source].result())
            return emulators[launch.source].run(launch, arguments, order)

        yield run
    for emulator in emulators.values():
        emulator.close()


@pytest.fixture
def emulate_changed(need_gpp: None, tmp_path: Path) -> Iterator[Callable[..., list[NDArray[np.generic]]]]:
    """A function that plants a change in a source or header, and runs one launch of the changed kernel."""
    emulators: list[Emulator] = []

    def run(
        launch: Launch, arguments: Sequence[Argument], file: str, old: str, new: str, sanitize: bool
    ) -> list[NDArray[np.generic]]:
        for path in SOURCES.glob("*.cu*"):
            shutil.copyfile(path, tmp_path / path.name)
        text = (tmp_path / file).read_text()
        assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
        (tmp_path / file).write_text(text.replace(old, new))
        source = (tmp_path / f"{launch.source}.cu").read_text()
        kept = [line for line in source.splitlines() if not ENTRY.match(line) or ENTRY.match(line)[1] == launch.kernel]  # type: ignore[index]  # the line matched
        emulators.append(Emulator(compile_source("\n".join(kept) + "\n", tmp_path, sanitize=sanitize)))
        return emulators[-1].run(launch, arguments)

    yield run
    for emulator in emulators:
        emulator.close()
