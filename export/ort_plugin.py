"""Execution providers of ONNX Runtime that are packages of their own: NVIDIA's TensorRT-RTX.

The package registers its library with ONNX Runtime, which then lists the devices that it serves; a session is made for
these devices (ONNX Runtime's "plugin execution provider libraries"). What it has compiled is kept in a graph of
`EPContext` nodes, which no other provider can run.
"""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from secateur.core.errors import EngineError, MissingPackageError
from secateur.export.graph_types import first_line, read_graph

if TYPE_CHECKING:
    import onnx

DEVICE, PROVIDER = "tensorrt_rtx", "NvTensorRTRTXExecutionProvider"
LOOKED_AT = 1 << 20
"""The bytes of a file in which the name of a compiled node is looked for, before all of it is read."""
PACKAGE, EXTRA = "onnxruntime_ep_nv_tensorrt_rtx", "ort-rtx"


def plugin_options(onnxruntime: ModuleType, options: Any) -> None:
    """Makes a session with these options run on the provider's devices alone.

    What it cannot run is an error of the session, and does not go to the CPU. Raises `MissingPackageError` without the
    package, and `EngineError` where it does not load, where ONNX Runtime takes no plugins, or has no such device.
    """
    options.add_provider_for_devices(_devices(onnxruntime), {})
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")


def compile_context(onnxruntime: ModuleType, options: Any, path: Path, out: Path) -> None:
    """Writes the graph at `path` as the provider has compiled it, in one file; raises `EngineError` where it cannot."""
    plugin_options(onnxruntime, options)
    try:
        compiler = onnxruntime.ModelCompiler(options, str(path), embed_compiled_data_into_model=True)
        compiler.compile_to_file(str(out))
    except Exception as error:  # ONNX Runtime's exceptions share no public base class
        raise EngineError(f"{PROVIDER} cannot compile {path.name} ({first_line(error)})") from error
    if not has_context(read_graph(out)):
        raise EngineError(f"{PROVIDER} compiled nothing of {path.name}: it would run elsewhere")


def has_context(graph: onnx.ModelProto) -> bool:
    """Whether a graph holds what a provider has compiled."""
    return any(node.op_type == "EPContext" for node in graph.graph.node)


def check_context(path: Path, device: str) -> None:
    """Raises `EngineError` for a compiled graph on another device than that of its provider."""
    if device == DEVICE:
        return
    with path.open("rb") as file:
        named = b"EPContext" in file.read(LOOKED_AT)
    if named and has_context(read_graph(path)):
        raise EngineError(
            f"{path.name} holds what {PROVIDER} has compiled (EPContext), which onnxruntime:{device} cannot: open it "
            f"as onnxruntime:{DEVICE}, or take the graph that it was built from"
        )


def _devices(onnxruntime: ModuleType) -> list[Any]:
    _register(onnxruntime)
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == PROVIDER]
    if not devices:
        raise EngineError(f"{PROVIDER} finds no GPU that it serves here: `secateur doctor` says what is here")
    return devices


@cache
def _register(onnxruntime: ModuleType) -> None:
    """Makes ONNX Runtime know the provider, once in a process."""
    try:
        package = importlib.import_module(PACKAGE)
    except ModuleNotFoundError as error:
        raise MissingPackageError(PACKAGE, f"the target 'onnxruntime:{DEVICE}'", EXTRA) from error
    if not hasattr(onnxruntime, "register_execution_provider_library"):
        raise EngineError(
            f"ONNX Runtime {onnxruntime.__version__} takes no providers from packages: `pip install onnxruntime>=1.24`"
        )
    try:
        onnxruntime.register_execution_provider_library(PROVIDER, package.get_library_path())
    except Exception as error:  # ONNX Runtime's exceptions share no public base class
        raise EngineError(
            f"{PROVIDER} does not load ({first_line(error)}): it needs an NVIDIA RTX GPU since Ampere and its driver"
        ) from error
