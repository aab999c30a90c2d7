"""Building and opening engines for any target."""

from __future__ import annotations

import platform
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from secateur.core.errors import EngineError, UnsupportedError
from secateur.core.files import atomic_path, sha256_file, write_bytes
from secateur.core.say import Say
from secateur.export import ort_plugin
from secateur.export.build_options import PLAIN, BuildOptions
from secateur.export.engine import Engine
from secateur.export.engine_info import (
    ENGINE_FILE,
    INFO_FILE,
    EngineInfo,
    Layer,
    PluginKind,
    Profile,
    Source,
    count_precisions,
)
from secateur.export.graph_types import declared_precisions, external_files, read_graph
from secateur.export.notes import graph_notes
from secateur.export.runner import plugin
from secateur.export.runner.sensors.conditions import Conditions
from secateur.export.runner.tensors import TensorInfo
from secateur.export.targets import JETSONS, Target, TypedTarget, check_bits, parse_target
from secateur.export.trt_runtime import import_runtime

if TYPE_CHECKING:
    import onnx

    from secateur.export.devices.device import Remote

TIMING_CACHE = "timing.cache"


def build_engine(
    onnx_path: str | Path,
    target: str | Target,
    out_dir: str | Path | None = None,
    *,
    profile: Profile | None = None,
    tf32: bool = True,
    options: BuildOptions = PLAIN,
    remote: Remote | None = None,
    say: Say = lambda message: None,
) -> EngineInfo:
    """Builds the engine of an ONNX file for `target` under `out_dir` and says what was built.

    The files are `<out_dir>/<target>/model.engine` and `engine.json` (`:` becomes `-`, and a graph that is not fp32
    adds `.fp16` and so on to the folder); `out_dir` is `engines` beside the ONNX file by default. The precision is
    that of the graph. For ONNX Runtime the engine is the ONNX graph itself, proven to load and to run where and in
    the precision that was asked for. `options` are for the target `tensorrt`; engines for its DLA take one batch, the
    usual one of the `profile`. With `remote` it is built on that device over ssh. Raises `EngineError` when the target
    cannot do it, `MissingPackageError` when its runtime is not installed, `DeviceError` for what a device refuses; an
    older engine is then left as it was.

    >>> info = sc.export_onnx(small, "small.onnx")
    >>> sc.build_engine("small.onnx", target="onnxruntime:cpu").precision
    'fp32'
    """
    path, goal, sizes = Path(onnx_path), parse_target(target), profile or Profile()
    if goal.device == "dla":  # which takes no dynamic batch
        sizes = Profile(sizes.usual, sizes.usual, sizes.usual)
    if goal.runtime == "torch":
        raise EngineError(f"the target {goal} runs the PyTorch model itself: there is no engine to build for it")
    graph = read_graph(path)
    declared, notes = declared_precisions(graph), graph_notes(graph, path.name)
    precision = notes.precision
    check_bits(goal, precision, "" if remote else _gpu_here(goal))
    folder = Path(out_dir) if out_dir is not None else path.parent / "engines"
    folder = folder / TypedTarget(goal, precision).folder
    start = time.perf_counter()
    _check_options(goal, options)
    if remote is not None:
        if not options.plain:
            raise UnsupportedError("export.engines is not for engines that are built over ssh: leave it out")
        made = _build_there(remote, path, graph, goal, declared, sizes, tf32, say)
    elif goal.runtime == "onnxruntime":
        made = _prepare_session(path, graph, goal, declared)
    else:
        _check_zeros(graph, path.name, goal)
        made = _build_plan(path, goal, declared, sizes, tf32, folder, options)
    (folder / INFO_FILE).unlink(missing_ok=True)  # from here on the old description is wrong
    for name in made.beside:
        with atomic_path(folder / name) as part:
            shutil.copyfile(path.parent / name, part)
    with atomic_path(folder / ENGINE_FILE) as part:
        made.write(part)
    info = EngineInfo(
        target=str(goal),
        runtime=goal.runtime,
        runtime_version=made.version,
        platform=made.platform or f"{platform.system()}-{platform.machine()}".lower(),
        compute_capabilities=made.capabilities,
        precision=precision,
        precisions=count_precisions(made.layers),
        inspected=made.inspected,
        tf32=tf32 and goal.device != "cpu",
        inputs=made.inputs or notes.inputs,
        outputs=made.outputs or notes.outputs,
        profile=sizes,
        onnx_sha256=sha256_file(path),
        engine_sha256=sha256_file(folder / ENGINE_FILE),
        size_bytes=(folder / ENGINE_FILE).stat().st_size,
        seconds=round(time.perf_counter() - start, 3),
        layers=made.layers,
        attention=made.attention,
        accumulation=made.accumulation,
        preprocessing=notes.preprocessing,
        classes=notes.classes,
        secateur_version=notes.version,
        options=options,
        on_gpu=made.on_gpu,
        plugin=made.plugin,
        conditions=made.conditions,
        folder=folder,
    )
    info.save()
    return info


def open_engine(path: str | Path, target: str | Target | None = None, *, threads: int | None = None) -> Engine:
    """An engine that is ready to run, as a context manager.

    `path` is an engine's folder, its `model.engine`, or for ONNX Runtime an .onnx file. The target is read from
    `engine.json` where there is one, and an engine for another target, or whose file has changed, is refused; an
    engine without description (from trtexec, say) needs its target named. `threads` limits ONNX Runtime's CPU
    threads. Raises `EngineError`, `MissingPackageError`, or `RunError` for a damaged `engine.json`.

    >>> info = sc.export_onnx(small, "small.onnx")
    >>> with sc.open_engine("small.onnx", "onnxruntime:cpu") as engine:
    ...     engine.infer({"input": example.numpy()})["logits"].shape
    (1, 5)
    """
    file = Path(path) / ENGINE_FILE if Path(path).is_dir() else Path(path)
    goal, described = None if target is None else parse_target(target), None
    if file.suffix == ".engine" and (file.parent / INFO_FILE).is_file() and file.name == ENGINE_FILE:
        info = EngineInfo.load(file.parent)
        info.check_file()
        if goal is not None and str(goal) != info.target:
            raise EngineError(f"{file} was built for {info.target}, but {goal} was asked for: build it for that target")
        goal, described = parse_target(info.target), info
    if not file.is_file():
        raise EngineError(f"there is no engine at {file}: build it with `secateur build`")
    if goal is None:
        raise EngineError(f"{file} has no {INFO_FILE} beside it: name the target that it is for")
    if goal.runtime == "onnxruntime":
        from secateur.export.ort_engine import OrtEngine

        return OrtEngine(file, goal.device, threads)
    if goal.runtime == "torch" or file.suffix == ".onnx":
        raise EngineError(
            f"{file.name} cannot run as {goal}: build an engine of it, or take the target onnxruntime:cpu"
        )
    trt = import_runtime(goal.runtime)
    from secateur.export.trt_engine import TrtEngine, gpu_capability

    if not gpu_capability():
        raise EngineError(
            f"the target {goal} needs an NVIDIA GPU with its driver, and PyTorch sees none here: engines can be built "
            "ahead of time for tensorrt_rtx, but run on the device only"
        )
    return TrtEngine(trt, file, info=described)


@dataclass(frozen=True)
class _Made:
    """What a runtime made: how to write the file, which files of the ONNX graph it reads, what is known about it."""

    write: Callable[[Path], object]
    version: str
    layers: tuple[Layer, ...]
    inspected: Source
    attention: int = 0
    accumulation: Mapping[str, int] = field(default_factory=dict)
    on_gpu: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    inputs: tuple[TensorInfo, ...] = ()
    outputs: tuple[TensorInfo, ...] = ()
    platform: str = ""
    plugin: PluginKind = ""
    conditions: Conditions | None = None


def _gpu_here(goal: Target) -> str:
    """The GPU of this machine where a target builds for that; empty for the other targets, and without one."""
    if not goal.needs_build or goal.capability:
        return ""
    from secateur.export.trt_engine import gpu_capability

    return gpu_capability()


def _check_options(goal: Target, options: BuildOptions) -> None:
    """Raises `EngineError` where engines that travel are asked of what has none."""
    if options.plain:
        return
    if goal.runtime != "tensorrt":
        raise EngineError(
            f"export.engines asks for engines that travel ({options.hardware} hardware, {options.versions} versions), "
            f"which {goal} does not build: leave export.engines or this target out"
        )
    if options.hardware != "this" and (here := _gpu_here(goal)) in JETSONS:
        raise EngineError(
            f"export.engines.hardware is {options.hardware}, which TensorRT does not build on a Jetson ({here}): leave "
            "it out"
        )


def _check_zeros(graph: onnx.ModelProto, name: str, goal: Target) -> None:
    """Raises `EngineError` for a graph in 8 bits whose numbers have no sign: TensorRT takes none of these."""
    from onnx import numpy_helper

    zeros = {node.input[2] for node in graph.graph.node if node.op_type == "QuantizeLinear" and len(node.input) > 2}
    if any(numpy_helper.to_array(one).any() for one in graph.graph.initializer if one.name in zeros):
        raise EngineError(
            f"{name} has 8 bits as ONNX Runtime runs them fastest, with zeros that are not stored as 0, which {goal} "
            "does not take: quantise it with export.quantize.runtime tensorrt, or name the target in export.targets"
        )


def _build_plan(
    path: Path,
    goal: Target,
    declared: dict[str, str],
    profile: Profile,
    tf32: bool,
    folder: Path,
    options: BuildOptions,
) -> _Made:
    trt = import_runtime(goal.runtime)
    from secateur.export.trt_build import build_plan
    from secateur.export.trt_engine import gpu_capability, load_plan
    from secateur.export.trt_inspect import check_engine, engine_layers, summarise
    from secateur.export.trt_tactics import accumulations

    cache = folder / TIMING_CACHE
    built = build_plan(
        trt,
        path,
        declared,
        capabilities=(goal.capability,) if goal.capability else (),
        profile=profile,
        tf32=tf32,
        timing_cache=cache.read_bytes() if cache.is_file() else b"",
        options=options,
        dla=goal.device == "dla",
    )
    if built.timing_cache:
        write_bytes(cache, built.timing_cache)
    here = gpu_capability()
    layers = built.layers
    inspected: Source = "network"
    found = built.engine
    if here and goal.capability in ("", here) and options.versions == "this":
        engine, _logger = load_plan(trt, built.plan, f"the engine of {path.name}")
        found, inspected = engine_layers(trt, engine), "engine"
    elif found:
        inspected = "builder"
    if found:
        check_engine(found, declared, str(goal))
        layers = summarise(found)
    return _Made(
        write=lambda part: part.write_bytes(built.plan),
        version=str(trt.__version__),
        layers=layers,
        inspected=inspected,
        attention=sum(layer.attends for layer in found),
        accumulation=accumulations(layer.tactic for layer in found),
        on_gpu=built.on_gpu,
        plugin=built.plugin,
        capabilities=(goal.capability or here,),
        inputs=built.inputs,
        outputs=built.outputs,
    )


def _prepare_session(path: Path, graph: onnx.ModelProto, goal: Target, declared: dict[str, str]) -> _Made:
    from secateur.export.ort_engine import check_fp8, check_session, import_onnxruntime, session_layers

    if goal.device == plugin.DEVICE:
        return _compile_session(path, goal, declared)
    check_fp8(declared, goal.device)
    layers = session_layers(path, goal.device)
    check_session(layers, declared, goal.device)
    return _Made(
        write=lambda part: shutil.copyfile(path, part),
        version=str(import_onnxruntime(goal.device).__version__),
        layers=layers,
        inspected="session",
        beside=external_files(graph),
    )


def _compile_session(path: Path, goal: Target, declared: dict[str, str]) -> _Made:
    """A graph as the provider of a package compiles it, which says nothing of its layers."""
    from secateur.export.ort_engine import import_onnxruntime

    onnxruntime = import_onnxruntime(goal.device)
    return _Made(
        write=lambda part: ort_plugin.compile_context(onnxruntime, onnxruntime.SessionOptions(), path, part),
        version=str(onnxruntime.__version__),
        layers=tuple(Layer(name, "", precision) for name, precision in declared.items()),
        inspected="network",
    )


def _build_there(
    remote: Remote,
    path: Path,
    graph: onnx.ModelProto,
    goal: Target,
    declared: dict[str, str],
    profile: Profile,
    tf32: bool,
    say: Say,
) -> _Made:
    """What a device made of the graph; the precisions that it runs are checked as those of an engine built here are."""
    from secateur.export.devices.build import build_there
    from secateur.export.ort_engine import check_fp8, check_session, optimised_layers
    from secateur.export.runner.build_here import ENGINE, LAYERS, OPTIMISED
    from secateur.export.trt_inspect import check_engine, inspected_layers, summarise
    from secateur.export.trt_tactics import accumulations

    if goal.runtime == "tensorrt_rtx" or goal.device in ("dla", plugin.DEVICE):
        where = "here, without a GPU" if goal.runtime == "tensorrt_rtx" else "where secateur is installed on it"
        raise UnsupportedError(f"engines for {goal} are not built over ssh: build them {where}")
    beside, sizes = external_files(graph), (profile.smallest, profile.usual, profile.largest)
    if goal.runtime == "onnxruntime":
        check_fp8(declared, goal.device)
    else:
        _check_zeros(graph, path.name, goal)
    with TemporaryDirectory() as folder:
        out = Path(folder)
        built = build_there(remote, path, beside, str(goal), sizes, tf32, out, say)
        if goal.runtime == "onnxruntime":
            layers = optimised_layers(out / OPTIMISED)
            check_session(layers, declared, goal.device)
            return _Made(
                write=lambda part: shutil.copyfile(path, part),
                version=built.version,
                layers=layers,
                inspected="session",
                beside=beside,
                platform=built.platform,
                conditions=built.conditions,
            )
        found, plan = inspected_layers((out / LAYERS).read_text(encoding="utf-8")), (out / ENGINE).read_bytes()
    check_engine(found, declared, str(goal))
    return _Made(
        write=lambda part: part.write_bytes(plan),
        version=built.version,
        layers=summarise(found),
        inspected="engine",
        attention=sum(layer.attends for layer in found),
        accumulation=accumulations(layer.tactic for layer in found),
        capabilities=(built.capability,),
        inputs=built.inputs,
        outputs=built.outputs,
        platform=built.platform,
        conditions=built.conditions,
    )
