"""What this machine can do: its GPUs and packages, and which targets can be built and run here."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import platform
from collections.abc import Mapping
from dataclasses import dataclass

from secateur.export import ort_plugin
from secateur.export.machine import Gpu, driver_and_gpus, memory_mib, nvcc, torch_cuda
from secateur.export.platform_limits import platform_limits
from secateur.export.runner import plugin
from secateur.export.runner.machine import cpu_count, cpu_name
from secateur.export.targets import JETSONS, Target, all_targets
from secateur.kernels.nvrtc import nvrtc_version
from secateur.kernels.trt_features import NAMES, features, has, having

PACKAGES = ("torch", "timm", "onnx", "onnxscript", "onnxruntime", "tensorrt", "tensorrt_rtx", "pycuda")
EXTRAS = {"onnxruntime": "cpu", "tensorrt": "gpu", "tensorrt_rtx": "rtx", "pycuda": "gpu"}


@dataclass(frozen=True)
class Package:
    """A package that secateur can use. `usable` is False where it is absent or does not load; `note` says why."""

    name: str
    version: str
    usable: bool
    note: str = ""


@dataclass(frozen=True)
class Ability:
    """What can be done with a target here: `build` its engines, `run` them, and in which precisions.

    `advice` is one sentence on what is missing and how to get it; empty where nothing is.
    """

    target: str
    build: bool
    run: bool
    precisions: tuple[str, ...]
    advice: str = ""


@dataclass(frozen=True)
class Machine:
    """This machine as secateur sees it; `warnings` name what is installed in a way that will not work.

    `features` say what the installed versions of TensorRT and TensorRT-RTX can do.
    """

    python: str
    system: str
    cpu: str
    cpu_count: int
    memory_mib: int
    driver: str
    gpus: tuple[Gpu, ...]
    torch_cuda: str
    providers: tuple[str, ...]
    ahead_of_time: tuple[str, ...]
    nvcc: str
    nvrtc: bool
    packages: tuple[Package, ...]
    targets: tuple[Ability, ...]
    warnings: tuple[str, ...]
    features: Mapping[str, Mapping[str, bool]]


def examine() -> Machine:
    """Everything about this machine that matters to secateur; absent drivers and packages are findings, not errors.

    >>> "torch:cpu" in [ability.target for ability in sc.examine().targets if ability.run]
    True
    """
    packages = {name: _package(name) for name in PACKAGES}
    driver, gpus = driver_and_gpus()
    cuda, torch_gpus = torch_cuda()
    gpus = torch_gpus or gpus
    runnable = bool(torch_gpus)
    providers = _providers() if packages["onnxruntime"].usable else ()
    ahead = _ahead_of_time() if packages["tensorrt_rtx"].usable else ()
    abilities = tuple(
        _ability(target, packages, gpus, runnable, providers, ahead, _blocked(driver, cuda)) for target in all_targets()
    )
    return Machine(
        python=f"{platform.python_implementation()} {platform.python_version()}",
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu=cpu_name(),
        cpu_count=cpu_count(),
        memory_mib=memory_mib(),
        driver=driver,
        gpus=gpus,
        torch_cuda=cuda,
        providers=providers,
        ahead_of_time=ahead,
        nvcc=nvcc(),
        nvrtc=nvrtc_version() is not None,
        packages=tuple(packages.values()),
        targets=abilities,
        warnings=(*_warnings(packages), *platform_limits()),
        features=_features(packages),
    )


def _ability(
    target: Target,
    packages: dict[str, Package],
    gpus: tuple[Gpu, ...],
    runnable: bool,
    providers: tuple[str, ...],
    ahead: tuple[str, ...],
    blocked: str,
) -> Ability:
    name, runtime, device = str(target), target.runtime, target.device
    package = packages["torch" if runtime == "torch" else runtime]
    here = gpus[0].capability if gpus else ""
    if not package.usable:
        needs_gpu = runtime == "tensorrt" and not runnable
        return Ability(name, False, False, (), _how_to_get(package) + (f"; and {blocked}" if needs_gpu else ""))
    if runtime == "torch":
        can = device == "cpu" or runnable
        return Ability(name, False, can, ("fp32", "fp16", "bf16") if can else (), "" if can else blocked)
    if runtime == "onnxruntime":
        from secateur.export.ort_engine import PROVIDERS

        if device == plugin.DEVICE:
            return _packaged(name, runnable, blocked, here)
        if PROVIDERS[device] not in providers:
            return Ability(name, False, False, (), _no_provider(PROVIDERS[device], runnable, blocked))
        if device != "cpu" and not runnable:
            return Ability(name, False, False, (), blocked)
        return Ability(name, True, True, ("fp32",) if device == "cpu" else ("fp32", "fp16"))
    if device == "dla":
        cores = _dla_cores() if runnable and here == "sm_87" else 0
        return Ability(name, cores > 0, cores > 0, ("fp16",) if cores else (), _no_dla(here) if not cores else "")
    if runtime == "tensorrt":
        precisions = _gpu_precisions(here) if runnable else ()
        return Ability(name, runnable, runnable, precisions, "" if runnable else blocked)
    if here in JETSONS:
        return Ability(name, False, False, (), f"TensorRT-RTX is not for {here} ({JETSONS[here]}): target tensorrt")
    if device not in ahead:
        return Ability(name, False, False, (), f"this TensorRT-RTX does not build for {device}: update it")
    run = runnable and here == device
    advice = (
        "" if run else f"builds here; an engine runs only on a GPU of {device}" + (f", this is {here}" if here else "")
    )
    precisions = ("fp16",) if device == "sm_75" else _gpu_precisions(device)  # it builds no fp32 products for Turing
    return Ability(name, True, run, precisions, advice)


def _gpu_precisions(capability: str) -> tuple[str, ...]:
    """What a GPU multiplies matrices in: bf16 came with Ampere (sm_80)."""
    number = capability.removeprefix("sm_")
    return ("fp32", "fp16", "bf16") if number.isdigit() and int(number) >= 80 else ("fp32", "fp16")


def _packaged(name: str, runnable: bool, blocked: str, here: str) -> Ability:
    """What a provider can do that is a package of its own, for GPUs since Ampere."""
    if importlib.util.find_spec(plugin.PACKAGE) is None:
        return Ability(name, False, False, (), f"no {plugin.PACKAGE}: `pip install 'secateur[{ort_plugin.EXTRA}]'`")
    if not runnable or here in JETSONS or here == "sm_75":
        return Ability(name, False, False, (), blocked if not runnable else f"{plugin.PROVIDER} is not for {here}")
    return Ability(name, True, True, _gpu_precisions(here))


def _dla_cores() -> int:
    """How many DLA cores this machine has for the TensorRT that is installed."""
    from secateur.export.trt_runtime import import_runtime, make_logger

    trt = import_runtime("tensorrt")
    return int(trt.Builder(make_logger(trt)).num_DLA_cores) if has(trt, "DLA") else 0


def _no_dla(here: str) -> str:
    where = f"; this is {JETSONS.get(here, here)}" if here else ""
    return f"no DLA can be used here: it needs a Jetson AGX Orin with {having('DLA')}{where}"


def _features(packages: dict[str, Package]) -> dict[str, dict[str, bool]]:
    """What each installed runtime of engines can do, by its name."""
    return {name: features(importlib.import_module(name)) for name in NAMES if packages[name].usable}


def _how_to_get(package: Package) -> str:
    loads = f"{package.version} is installed but does not load ({package.note}): install it again"
    return f"{package.name} {loads if package.version else 'is ' + package.note}"


def _no_provider(provider: str, runnable: bool, blocked: str) -> str:
    get = "`pip uninstall onnxruntime` and `pip install 'secateur[gpu]'`"
    return f"this ONNX Runtime has no {provider}: {get}" + ("" if runnable else f"; and {blocked}")


def _blocked(driver: str, torch_cuda: str) -> str:
    """Why no GPU can be used here; to be read only where none can."""
    if not driver:
        return "there is no NVIDIA driver: use a machine with an NVIDIA GPU and install its driver (nvidia.com/drivers)"
    if not torch_cuda:
        return f"the driver {driver} is here but this PyTorch has no CUDA: install a CUDA build (pytorch.org)"
    return f"PyTorch for CUDA {torch_cuda} sees no GPU under the driver {driver}: update the driver"


def _package(name: str) -> Package:
    """Whether a package loads, found by loading it: a wheel may be there while a library that it needs is not."""
    module = "pycuda.driver" if name == "pycuda" else name
    version = _installed_version(name)
    try:
        if importlib.util.find_spec(name) is None:
            command = f"`pip install 'secateur[{EXTRAS[name]}]'`" if name in EXTRAS else "`pip install secateur`"
            return Package(name, "", False, f"not installed: {command}")
        loaded = importlib.import_module(module)
    except Exception as error:  # a broken native package may raise anything while it loads
        lines = str(error).splitlines() or [type(error).__name__]
        return Package(name, version or "unknown", False, lines[0])
    return Package(name, str(getattr(loaded, "__version__", "")) or version or "unknown", True)


def _installed_version(name: str) -> str:
    distributions = {"onnxruntime": ("onnxruntime", "onnxruntime-gpu")}.get(name, (name,))
    for distribution in distributions:
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


def _warnings(packages: dict[str, Package]) -> tuple[str, ...]:
    found = []
    variants = [name for name in ("onnxruntime", "onnxruntime-gpu") if _is_installed(name)]
    if len(variants) > 1:
        found.append(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files: `pip uninstall "
            "onnxruntime onnxruntime-gpu`, then install one of secateur[cpu] and secateur[gpu]"
        )
    found += [
        f"{package.name} {package.version} is installed but does not load: {package.note}"
        for package in packages.values()
        if package.version and not package.usable
    ]
    return tuple(found)


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _providers() -> tuple[str, ...]:
    """The execution providers whose libraries really load.

    ONNX Runtime lists every provider that it was compiled with; whether it can be created shows in a session only.
    """
    import onnxruntime
    from onnx import TensorProto, helper

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Abs", ["x"], ["y"])], "probe", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    found = []
    for provider in onnxruntime.get_available_providers():
        if not provider.startswith(("CPU", "CUDA", "Tensorrt")):
            continue
        try:
            session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=[provider])
        except Exception:  # a provider that cannot start is exactly what is asked here
            continue
        if session.get_providers()[0] == provider:
            found.append(provider)
    return tuple(found)


def _ahead_of_time() -> tuple[str, ...]:
    from secateur.export.trt_build import supported_capabilities
    from secateur.export.trt_runtime import import_runtime

    return supported_capabilities(import_runtime("tensorrt_rtx"))
