"""Targets: the device and the runtime that something is built for or measured on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from secateur.core.errors import EngineError, near_matches

DEVICES: Mapping[str, tuple[str, ...]] = {
    "tensorrt": ("",),
    "tensorrt_rtx": ("sm_75", "sm_80", "sm_86", "sm_89", "sm_120", "sm_121"),
    "onnxruntime": ("cpu", "cuda", "tensorrt"),
    "torch": ("cpu", "cuda"),
}
"""The devices of each runtime. `tensorrt` builds for the GPU it runs on, so it names none."""


@dataclass(frozen=True)
class Target:
    """A runtime and a device of it; `str(target)` is the name that recipes and reports use."""

    runtime: str
    device: str

    def __str__(self) -> str:
        return f"{self.runtime}:{self.device}" if self.device else self.runtime

    @property
    def folder(self) -> str:
        """The name as a folder that every file system takes: `tensorrt_rtx-sm_86`."""
        return str(self).replace(":", "-")

    @property
    def needs_build(self) -> bool:
        """True where an engine has to be built before anything can run."""
        return self.runtime in ("tensorrt", "tensorrt_rtx")


def all_targets() -> tuple[Target, ...]:
    """Every target there is."""
    return tuple(Target(runtime, device) for runtime, devices in DEVICES.items() for device in devices)


def parse_target(name: str | Target) -> Target:
    """The target of that name (`tensorrt_rtx:sm_86`); raises `EngineError` with the choices for any other."""
    if isinstance(name, Target):
        return name
    known = {str(target): target for target in all_targets()}
    if name in known:
        return known[name]
    runtime, _, device = name.partition(":")
    if runtime == "tensorrt_rtx" and device in ("sm_87", "sm_90", "sm_100", "sm_110"):
        raise EngineError(
            f"TensorRT-RTX does not build for {device}: use the target 'tensorrt' on the device itself; "
            f"{runtime} takes {', '.join(DEVICES[runtime])}"
        )
    if runtime in DEVICES:
        choices = [str(Target(runtime, each)) for each in DEVICES[runtime]]
        raise EngineError(f"the target {name!r} is not known: {runtime} has {', '.join(choices)}")
    raise EngineError(f"the target {name!r} is not known{near_matches(name, known)}: choose one of {', '.join(known)}")
