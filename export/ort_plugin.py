"""What the provider of ONNX Runtime in NVIDIA's package has compiled: graphs of `EPContext` nodes, which only it runs.

`export.runner.plugin` has the provider itself.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from secateur.core.errors import EngineError, MissingPackageError
from secateur.export.graph_types import first_line, read_graph
from secateur.export.runner import plugin
from secateur.export.runner.errors import UnavailableError
from secateur.export.runner.plugin import DEVICE, PACKAGE, PROVIDER

if TYPE_CHECKING:
    import onnx

LOOKED_AT = 1 << 20
"""The bytes of a file in which the name of a compiled node is looked for, before all of it is read."""
EXTRA = "ort-rtx"


def plugin_options(onnxruntime: ModuleType, options: Any) -> None:
    """Makes a session with these options run on the provider's devices alone, as `runner.plugin` does.

    Raises `MissingPackageError` without the package, and `EngineError` for all else that is not here.
    """
    try:
        importlib.import_module(PACKAGE)
    except ModuleNotFoundError as error:
        raise MissingPackageError(PACKAGE, f"the target 'onnxruntime:{DEVICE}'", EXTRA) from error
    try:
        plugin.plugin_options(onnxruntime, options)
    except UnavailableError as error:
        raise EngineError(str(error)) from error


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
