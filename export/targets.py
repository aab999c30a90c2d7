"""Targets: the device and the runtime that something is built for or measured on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from secateur.core.errors import EngineError, near_matches

DEVICES: Mapping[str, tuple[str, ...]] = {
    "tensorrt": ("", "dla"),
    "tensorrt_rtx": ("sm_75", "sm_80", "sm_86", "sm_89", "sm_120", "sm_121"),
    "onnxruntime": ("cpu", "cuda", "tensorrt", "tensorrt_rtx"),
    "torch": ("cpu", "cuda"),
}
"""The devices of each runtime. `tensorrt` builds for the GPU it runs on, so it names none; `dla` is the accelerator of
a Jetson beside it."""


JETSONS: Mapping[str, str] = {
    "sm_87": "Jetson Orin: TensorRT 10.3 on JetPack 6, 11.4.1 on JetPack 7.2.2 (AGX); no fp8",
    "sm_101": "Jetson Thor, as CUDA 12 counted it",
    "sm_110": "Jetson Thor: TensorRT on JetPack 7; no DLA",
}
"""The GPUs of Jetsons that these packages run on, in words."""


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
    def capability(self) -> str:
        """The GPU that the name says, as `sm_86`; empty for the GPU of this machine and for what is none."""
        return self.device if self.device.startswith("sm_") else ""

    @property
    def needs_build(self) -> bool:
        """True where an engine has to be built before anything can run."""
        return self.runtime in ("tensorrt", "tensorrt_rtx")


@dataclass(frozen=True)
class TypedTarget:
    """A target and the precision of the graph that it runs, as results name them: `onnxruntime:cpu@fp16`.

    fp32 goes without saying, and so does the precision of a `torch` target, which runs the module as it is.
    """

    target: Target
    precision: str = "fp32"

    def __str__(self) -> str:
        return str(self.target) if self.precision == "fp32" else f"{self.target}@{self.precision}"

    @property
    def folder(self) -> str:
        """The name as a folder: `tensorrt_rtx-sm_86.fp16`."""
        return self.target.folder if self.precision == "fp32" else f"{self.target.folder}.{self.precision}"


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


def check_bits(target: Target, precision: str, device: str = "") -> None:
    """Raises `EngineError` where a target has no products in that precision.

    `device` is the GPU that a target builds for where its name does not say so (`sm_86`). int8 came with sm_72 (Volta
    has none), fp8 with sm_89.
    """
    since, where = {"int8": 72, "fp8": 89}.get(precision, 0), (target.capability or device).removeprefix("sm_")
    if target.device == "dla" and precision != "fp16":
        raise EngineError(
            f"{target} computes in fp16, and {precision} was asked for: set the precisions to fp16, or take the target "
            "tensorrt, the GPU beside it"
        )
    if target.needs_build and where.isdigit() and int(where) < since:
        raise EngineError(
            f"{target} has no {precision} (sm_{where}; GPUs multiply {precision} from sm_{since} on): leave "
            f"{precision} out of the precisions, or this target"
        )


def parse_typed_target(name: str | Target | TypedTarget) -> TypedTarget:
    """The target and the precision in a name such as `onnxruntime:cpu@fp16`, fp32 where it names none.

    Raises `EngineError` for an unknown target, `ExportError` for an unknown precision.
    """
    if isinstance(name, TypedTarget):
        return name
    word, apart, precision = str(name).partition("@")
    target = parse_target(name if isinstance(name, Target) else word)
    if not apart:
        return TypedTarget(target)
    from secateur.export.precision import parse_precision  # it needs torch, and reading results does not

    if target.runtime == "torch":
        raise EngineError(
            f"the target {name!r} names a precision, but {target} runs the module as it is: drop @{precision}"
        )
    return TypedTarget(target, parse_precision(precision))


def typed_targets(targets: Iterable[str | Target], precisions: Iterable[str]) -> tuple[TypedTarget, ...]:
    """Every target in every precision, each once; those of `torch` in that of the module alone."""
    words = tuple(precisions)
    goals = (parse_target(name) for name in targets)
    found = (TypedTarget(goal, word) for goal in goals for word in (("fp32",) if goal.runtime == "torch" else words))
    return tuple(dict.fromkeys(found))
