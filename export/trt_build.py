"""Building an engine with TensorRT (10.3 to 11) or TensorRT-RTX: one code path, the module is passed in."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from secateur.core.errors import EngineError
from secateur.export.build_options import PLAIN, BuildOptions
from secateur.export.engine_info import Layer, PluginKind, Profile
from secateur.export.graph_types import read_graph
from secateur.export.runner.tensors import DYNAMIC, TensorInfo
from secateur.export.trt_inspect import InspectedLayer, check_layers, network_layers, reported_layers
from secateur.export.trt_runtime import clean_message, make_logger, numpy_name
from secateur.kernels.onnx_function import without_functions
from secateur.kernels.trt_features import NAMES, Feature, has, require
from secateur.kernels.trt_plugin import needs_plugin, register_plugin, takes_plugins


@dataclass(frozen=True)
class Built:
    """A built engine in memory: its bytes (a buffer), the layers of the typed network, what goes in and comes out.

    `engine` are the layers of the engine as far as the builder reports them, which TensorRT-RTX does. `timing_cache` is
    what the next build of the same network may start from; empty for TensorRT-RTX, which times nothing at build time.
    `on_gpu` are the layers of a build for DLA that fall back to the GPU. `plugin` is the kind of secateur's own plugin
    that the engine holds.
    """

    plan: Any
    layers: tuple[Layer, ...]
    engine: tuple[InspectedLayer, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    timing_cache: bytes
    on_gpu: tuple[str, ...] = ()
    plugin: PluginKind = ""


def build_plan(
    trt: ModuleType,
    onnx_path: Path,
    declared: Mapping[str, str],
    *,
    capabilities: tuple[str, ...] = (),
    profile: Profile | None = None,
    tf32: bool = True,
    timing_cache: bytes = b"",
    options: BuildOptions = PLAIN,
    dla: bool = False,
) -> Built:
    """The engine of the ONNX graph at `onnx_path`, in the precisions that the graph itself is typed in.

    `declared` maps operations to their declared precision (`graph_types.declared_precisions`); the network is
    checked against it before it is built. `capabilities` (`sm_86`) select the GPUs of an ahead-of-time build;
    without any, the engine is for the GPU of this machine, or with `dla` for the accelerator beside it. Raises
    `EngineError` in the runtime's words, and for options that this version lacks.
    """
    name = NAMES.get(trt.__name__, trt.__name__)
    _check_features(trt, onnx_path, options, dla)
    logger = make_logger(trt)
    builder = _builder(trt, logger, name)
    network = builder.create_network(0 if dla and has(trt, "weak typing") else _strongly_typed(trt))
    parser = trt.OnnxParser(network, logger)
    plugin = _plugin(trt, onnx_path)
    if not _parse(trt, parser, onnx_path):
        raise EngineError(f"{name} {trt.__version__} cannot read {onnx_path.name}: {_parser_errors(parser, logger)}")
    layers = network_layers(network)
    check_layers(layers, declared, name)
    config = builder.create_builder_config()
    _configure(trt, config, name, capabilities, tf32)
    _travel(trt, config, options)
    on_gpu = _use_dla(trt, builder, network, config, onnx_path.name) if dla else ()
    _add_profile(builder, network, config, profile or Profile(), onnx_path.name)
    cache = _use_timing_cache(config, timing_cache, name) if has(trt, "timing cache") else None
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        if trt.__name__ == "tensorrt_rtx":
            _settle(trt)
        where = f" for {', '.join(capabilities)}" if capabilities else ""
        raise EngineError(
            f"{name} {trt.__version__} cannot build {onnx_path.name}{where}: {logger.sentences()}{_advice(logger)}"
        )
    return Built(
        plan=plan,
        layers=layers,
        engine=reported_layers(str(getattr(logger, "report", ""))),
        inputs=tuple(_tensor(trt, network.get_input(index)) for index in range(network.num_inputs)),
        outputs=tuple(_tensor(trt, network.get_output(index)) for index in range(network.num_outputs)),
        timing_cache=bytes(cache.serialize()) if cache is not None else b"",
        on_gpu=on_gpu,
        plugin=plugin,
    )


def supported_capabilities(trt: ModuleType) -> tuple[str, ...]:
    """The GPUs that `trt` builds for ahead of time, as `sm_86`; empty for a runtime that builds in place."""
    members = getattr(getattr(trt, "ComputeCapability", None), "__members__", {})
    found = (word[2:] for word in members if word.startswith("SM") and word[2:].isdigit())
    return tuple(f"sm_{number}" for number in sorted(found, key=int))


def _check_features(trt: ModuleType, path: Path, options: BuildOptions, dla: bool) -> None:
    """Raises `EngineError` for what was asked and this version of the runtime cannot do."""
    if options.hardware != "this":
        wide = options.hardware == "ampere_plus"
        feature: Feature = "hardware-compatible engines" if wide else "same-capability engines"
        require(trt, feature, f"export.engines.hardware: {options.hardware}")
    if options.versions != "this":
        require(trt, "version-compatible engines", f"export.engines.versions: {options.versions}")
    if dla:
        require(trt, "DLA", "the target tensorrt:dla")
        if not options.plain:
            raise EngineError(
                "export.engines asks for engines that travel, but those of the target tensorrt:dla are for the one "
                "accelerator: leave export.engines or the target out"
            )
    if not has(trt, "attention operator"):
        operators = {(node.op_type, node.domain) for node in read_graph(path).graph.node}
        if ("Attention", "") in operators:
            require(trt, "attention operator", path.name)


def _travel(trt: ModuleType, config: Any, options: BuildOptions) -> None:
    """Lets the engine run on other GPUs and, by their lean runtime of this version, with newer versions."""
    if options.hardware != "this":
        level = {"ampere_plus": "AMPERE_PLUS", "same_capability": "SAME_COMPUTE_CAPABILITY"}[options.hardware]
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.__members__[level]
    if options.versions != "this":
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
        config.set_flag(trt.BuilderFlag.EXCLUDE_LEAN_RUNTIME)  # which is code, and would run where the engine loads


def _use_dla(trt: ModuleType, builder: Any, network: Any, config: Any, name: str) -> tuple[str, ...]:
    """Puts the network on the accelerator; returns the layers that it cannot run, which the GPU does."""
    if builder.num_DLA_cores < 1:
        raise EngineError("the target tensorrt:dla needs a DLA, and this machine has none: take the target tensorrt")
    if has(trt, "weak typing"):
        config.set_flag(trt.BuilderFlag.FP16)
    config.default_device_type, config.DLA_core = trt.DeviceType.DLA, 0
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    layers = [layer for layer in layers if layer.type.name != "CONSTANT"]
    left = tuple(str(layer.name) for layer in layers if not config.can_run_on_DLA(layer))
    if len(left) == len(layers):
        raise EngineError(f"DLA runs none of the {len(layers)} layers of {name}: take the target tensorrt for it")
    return left


def _builder(trt: ModuleType, logger: Any, name: str) -> Any:
    try:
        return trt.Builder(logger)
    except (TypeError, RuntimeError) as error:  # a null builder from the C++ side: no driver, or no GPU
        raise EngineError(
            f"{name} cannot start its builder on this machine ({logger.sentences()}): it needs an NVIDIA GPU and "
            "driver here; 'tensorrt_rtx' builds without one"
        ) from error


def _strongly_typed(trt: ModuleType) -> int:
    """The creation flags of a network whose types are those of the graph; from TensorRT 11 on there is no other."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _plugin(trt: ModuleType, path: Path) -> PluginKind:
    """The kind of our plugin, registered, where the graph needs it and the runtime takes plugins; else empty."""
    return register_plugin(trt) if takes_plugins(trt) and needs_plugin(read_graph(path)) else ""


def _parse(trt: ModuleType, parser: Any, path: Path) -> bool:
    """Whether the parser took the graph; our plugin stands in for the functions where the runtime takes plugins."""
    if not _plugin(trt, path):
        return bool(parser.parse_from_file(str(path)))
    return bool(parser.parse(without_functions(read_graph(path)).SerializeToString(), str(path)))


def _parser_errors(parser: Any, logger: Any) -> str:
    found = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        node, operation = error.node_name(), error.node_operator()
        where = f"at {node} ({operation}): " if node else ""
        found.append(f"{where}{clean_message(error.desc())}")
    return "; ".join(dict.fromkeys(found)) or str(logger.sentences())


def _configure(trt: ModuleType, config: Any, name: str, capabilities: tuple[str, ...], tf32: bool) -> None:
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if tf32:
        config.set_flag(trt.BuilderFlag.TF32)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)
    if not capabilities:
        return
    supported = supported_capabilities(trt)
    for capability in capabilities:
        if capability not in supported:
            raise EngineError(
                f"{name} {trt.__version__} does not build for {capability} ahead of time: "
                f"{'it builds for ' + ', '.join(supported) if supported else 'it builds for the GPU it runs on only'}"
            )
    config.num_compute_capabilities = len(capabilities)
    for index, capability in enumerate(capabilities):
        member = trt.ComputeCapability.__members__[capability.replace("sm_", "SM")]
        if not config.set_compute_capability(member, index):
            raise EngineError(f"{name} {trt.__version__} refuses the compute capability {capability}")


def _add_profile(builder: Any, network: Any, config: Any, profile: Profile, name: str) -> None:
    shapes = builder.create_optimization_profile()
    dynamic = False
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = tuple(tensor.shape)
        if DYNAMIC in shape[1:]:
            raise EngineError(
                f"the input {tensor.name!r} of {name} has the shape {list(shape)}, but only its first dimension, the "
                "batch, may be dynamic: export it with fixed image sizes"
            )
        if shape and shape[0] == DYNAMIC:
            dynamic = True
            sizes = ((size, *shape[1:]) for size in (profile.smallest, profile.usual, profile.largest))
            shapes.set_shape(tensor.name, *sizes)
    if dynamic and config.add_optimization_profile(shapes) < 0:
        raise EngineError(f"the batch sizes {profile} do not fit the inputs of {name}")


def _use_timing_cache(config: Any, content: bytes, name: str) -> Any:
    """The timing cache of this build, begun from `content`; raises `EngineError` for bytes that are none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        cache = config.create_timing_cache(content)
        if cache is None or not config.set_timing_cache(cache, ignore_mismatch=True):
            raise EngineError(f"the timing cache is not one of this version of {name}: remove it and build again")
    return cache


def _settle(trt: ModuleType) -> None:
    """Builds a network of one operation, so that the next engine is the one that a fresh process would build.

    After a failed build TensorRT-RTX 1.7.1 adds 137 kB of the failed one to the engine that is built next.
    """
    builder = trt.Builder(make_logger(trt))
    network = builder.create_network(_strongly_typed(trt))
    operation = network.add_unary(network.add_input("input", trt.float32, (1, 1)), trt.UnaryOperation.ABS)
    network.mark_output(operation.get_output(0))
    builder.build_serialized_network(network, builder.create_builder_config())


def _advice(logger: Any) -> str:
    text = " ".join(logger.errors)
    if "FP32 GEMM is not supported" in text:
        return "; Turing GPUs multiply matrices in fp16 only here: export the model in fp16"
    if "HW-specific datatypes: b16" in text:
        return "; this GPU has no bf16: export the model in fp16"
    return ""


def _tensor(trt: ModuleType, tensor: Any) -> TensorInfo:
    return TensorInfo(tensor.name, numpy_name(trt, tensor.dtype), tuple(int(size) for size in tensor.shape))
