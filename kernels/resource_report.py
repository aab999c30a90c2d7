"""The resources of every kernel on every architecture, as one JSON file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from secateur.core.errors import RunError
from secateur.core.files import read_json, write_json
from secateur.kernels.compile import ARCHITECTURES, SOURCES, compile_kernel, source_digest
from secateur.kernels.instructions import LoopCount, count_loop
from secateur.kernels.resources import Resources, resources_of

LOOP_ARCHITECTURES = (80, 86, 87, 89, 90)  # those of the tiles for short sequences
KIND = "kernel_resources"
COMMAND = "python -P -m secateur.kernels.resource_report"


@dataclass(frozen=True)
class ResourceReport:
    """What `compiler` made of the sources whose SHA-256 (with their headers) are in `sources`.

    `loops` counts the instructions of the attention kernels for tensor cores, in fp16 (bf16 converts otherwise).
    """

    compiler: str
    command: str
    sources: dict[str, str]
    kernels: tuple[Resources, ...]
    loops: tuple[LoopCount, ...]


def make_report(architectures: Sequence[int] = ARCHITECTURES, workers: int = 2) -> ResourceReport:
    """The report of all sources; raises `KernelError` where one does not compile or where there is no nvcc."""
    jobs = [(source, architecture) for architecture in architectures for source in SOURCES]
    with ThreadPoolExecutor(workers) as pool:
        compiled = list(pool.map(lambda job: compile_kernel(*job), jobs))
    kernels = tuple(resources for one in compiled for resources in resources_of(one))
    loops = tuple(
        count_loop(one, kernel.kernel)
        for one in compiled
        if one.source == "ragged_attention" and one.architecture in LOOP_ARCHITECTURES
        for kernel in resources_of(one)
        if "_fp16_" in kernel.kernel and "_plain" not in kernel.kernel
    )
    digests = {source: source_digest(source) for source in SOURCES}
    return ResourceReport(compiled[0].compiler, COMMAND, digests, kernels, loops)


def read_report(path: Path) -> ResourceReport:
    """The report in a file of `main`; raises `RunError` where it cannot be read.

    It is read without pydantic: the GPU suite reads it on machines that have PyTorch and NumPy only.
    """
    content = read_json(path, KIND)
    try:
        kernels = tuple(Resources(**one) for one in content.pop("kernels"))
        loops = tuple(LoopCount(**one) for one in content.pop("loops"))
        del content["schema"]
        return ResourceReport(**content, kernels=kernels, loops=loops)
    except (KeyError, TypeError) as error:
        raise RunError(f"{path} is no report of kernels ({error}): make it again by {COMMAND}") from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the report of this machine's compiler to `--out`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/kernel_resources.json"))
    out = parser.parse_args(arguments).out
    report = make_report()
    write_json(out, KIND, vars(report))
    print(f"{len(report.kernels)} kernels written to {out}")


if __name__ == "__main__":
    main()
