"""The machine and the software that a measurement was made with, and what of it must agree between two."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from secateur.core.packages import versions
from secateur.export.machine import Gpu, driver_and_gpus, torch_cuda
from secateur.export.runner.machine import cpu_count, cpu_name, printed


@dataclass(frozen=True)
class Environment:
    """Where a measurement was made. `cores` is what this process may use, `threads` what the CPU runtimes were given.

    `gpu` is the one that CUDA programs see first, or None; `driver` is empty without one. `versions` has None for
    packages that are not installed; `git_commit` is that of the checkout secateur runs from, with `-dirty` for
    changed files, or None.
    """

    cpu_model: str
    cores: int
    threads: int
    gpu: Gpu | None
    driver: str
    os: str
    machine: str
    python: str
    versions: Mapping[str, str | None] = field(default_factory=dict)
    git_commit: str | None = None

    def kind(self, target: str) -> dict[str, str]:
        """What must be equal for two measurements on `target` to be of one kind: its runtime and its device.

        On a CPU target the device is the processor and the number of threads, on all others the GPU. Versions are
        not part of it: an update that changes a ratio is what a gate is there to notice (see `version_changes`).
        """
        runtime, _, device = target.partition("@")[0].partition(":")  # a precision is no part of the machine
        if device == "cpu":
            return {
                "runtime": runtime,
                "processor": self.cpu_model,
                "architecture": self.machine,
                "threads": str(self.threads),
            }
        gpu = self.gpu or Gpu("none", "none", 0)
        return {"runtime": runtime, "gpu": gpu.name, "compute capability": gpu.capability}


def environment(threads: int | None = None) -> Environment:
    """This machine as it is now; `threads` defaults to PyTorch's present number."""
    import torch  # slow to load, and a gate that only reads fingerprints does without

    driver, gpus = driver_and_gpus()
    gpus = torch_cuda()[1] or gpus  # PyTorch heeds CUDA_VISIBLE_DEVICES, the driver does not
    return Environment(
        cpu_model=cpu_name(),
        cores=cpu_count(),
        threads=threads or torch.get_num_threads(),
        gpu=gpus[0] if gpus else None,
        driver=driver,
        os=f"{platform.system()} {platform.release()}",
        machine=platform.machine(),
        python=platform.python_version(),
        versions=versions(),
        git_commit=_git_commit(),
    )


def differences(one: Environment, two: Environment, target: str) -> list[str]:
    """What keeps two environments from being of one kind on `target`, as phrases; empty when they are."""
    first, second = one.kind(target), two.kind(target)
    keys = list(dict.fromkeys([*first, *second]))
    return [
        f"{key}: {first.get(key, 'none')!r} and {second.get(key, 'none')!r}"
        for key in keys
        if first.get(key) != second.get(key)
    ]


def version_changes(one: Environment, two: Environment) -> list[str]:
    """Packages, driver and operating system that differ between two environments of one kind, as phrases."""
    before = {**one.versions, "driver": one.driver, "os": one.os, "python": one.python}
    after = {**two.versions, "driver": two.driver, "os": two.os, "python": two.python}
    names = list(dict.fromkeys([*before, *after]))
    return [
        f"{name} {before.get(name) or 'absent'} -> {after.get(name) or 'absent'}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def command_line() -> str:
    """The command that this process runs, as one would type it, without the folder that its program is in."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def _git_commit() -> str | None:
    """The commit of the checkout that this file belongs to; None where it is installed, in a checkout or not."""
    here = Path(__file__).resolve()
    git = ("git", "-C", str(here.parent))
    if not printed(*git, "ls-files", "--", here.name):
        return None
    return printed(*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*") or None
