"""Which engines of a bundle run on this device, and why the others do not."""

from __future__ import annotations

from typing import Callable

from .errors import RunnerError, UnavailableError
from .machine import Here
from .manifest import Built
from .runtimes import NAMES, import_runtime, lacking_provider

Versions = Callable[[str], str]
"""The version of a runtime that is installed here; raises `UnavailableError` where there is none."""

AMPERE = 80


def installed_version(runtime: str) -> str:
    """The version of a runtime here; raises `UnavailableError` where it is not installed or does not load."""
    return str(import_runtime(runtime).__version__)


def unavailable(engine: Built, here: Here, versions: Versions = installed_version) -> str:
    """Why the runtime or the device of an engine is not here, as a sentence; empty where both are."""
    try:
        versions(engine.runtime)
    except UnavailableError as error:
        return str(error)
    if engine.runtime == "onnxruntime":
        return lacking_provider(import_runtime("onnxruntime"), engine.target.partition(":")[2])
    return "" if here.capability else "there is no NVIDIA GPU with its driver here"


def mismatch(engine: Built, here: Here, versions: Versions = installed_version) -> str:
    """What an engine was built for and what is here, as a sentence, where these differ; empty where they agree.

    A graph of ONNX Runtime runs with any version of it. Plans of TensorRT run on the kind of GPU, with the version and
    on the platform that they were built for, and on others where they were built to travel.
    """
    if engine.runtime == "onnxruntime":
        return ""
    name, version = NAMES[engine.runtime], versions(engine.runtime)
    travels = engine.hardware == "ampere_plus" and _number(here.capability) >= AMPERE
    if here.capability not in engine.capabilities and not travels:
        return (
            f"{engine.path} was built for {', '.join(engine.capabilities) or 'an unknown GPU'}, and here is "
            f"{here.capability} ({here.gpu}): build the engine for this device"
        )
    newer = engine.versions == "newer" and _parts(version) >= _parts(engine.runtime_version)
    if version != engine.runtime_version and not newer:
        return (
            f"{engine.path} was built with {name} {engine.runtime_version}, and here is {name} {version}: build the "
            "engine with this version"
        )
    if engine.platform and engine.platform != here.platform:
        return f"{engine.path} was built for {engine.platform}, and this is {here.platform}: build the engine here"
    return ""


def _number(capability: str) -> int:
    digits = capability.replace("sm_", "")
    return int(digits) if digits.isdigit() else 0


def _parts(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]


def named(engines: tuple[Built, ...], target: str, here: Here, versions: Versions = installed_version) -> Built:
    """The engine of that name (`orin/tensorrt@fp16`), or of those for a target the first that fits, or else the first.

    Raises `RunnerError` where there is none.
    """
    found = [engine for engine in engines if target in (engine.name, engine.key)]
    if not found:
        raise RunnerError(
            f"the bundle has no engine for {target!r}: it has {', '.join(engine.name for engine in engines)}"
        )
    fitting = (one for one in found if not unavailable(one, here, versions) and not mismatch(one, here, versions))
    return next(fitting, found[0])


def chosen(engines: tuple[Built, ...], target: str, here: Here, versions: Versions = installed_version) -> Built:
    """The engine to run: the one named, or the first that fits, in the order of the manifest.

    Raises `RunnerError` where the target is not in the bundle, and with all reasons where nothing fits.
    """
    reasons = []
    for engine in (named(engines, target, here, versions),) if target else engines:
        reason = unavailable(engine, here, versions) or mismatch(engine, here, versions)
        if not reason:
            return engine
        reasons.append(f"{engine.name}: {reason}")
    which = f"the engine that was asked for does not run here ({reasons[0]})" if target else ""
    raise UnavailableError(which or f"no engine of the bundle runs here ({'; '.join(reasons)})")
