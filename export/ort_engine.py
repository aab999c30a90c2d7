"""ONNX Runtime as an engine: the provider that was asked for runs, or it is an error."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from secateur.core.errors import EngineError, FallbackError, MissingPackageError, UnsupportedError
from secateur.export import ort_plugin
from secateur.export.engine import Arrays, Engine, How
from secateur.export.engine_info import Layer
from secateur.export.graph_types import (
    check_onnx,
    declared_precisions,
    element_types,
    first_line,
    graph_precision,
    operand_precision,
    read_graph,
)
from secateur.export.runner import plugin
from secateur.export.runner.half_pairs import session_options
from secateur.export.runner.runtimes import bound
from secateur.export.runner.tensors import DYNAMIC, TensorInfo

PROVIDERS: Mapping[str, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    plugin.DEVICE: plugin.PROVIDER,
}
"""The execution provider of each device of the runtime `onnxruntime`."""

PRODUCTS = frozenset(
    {"Conv", "FusedConv", "NhwcFusedConv", "ConvTranspose", "MatMul", "FusedMatMul", "Gemm", "FusedGemm", "Einsum"}
    | {"Attention", "MultiHeadAttention", "TransposeMatMul", "FusedMatMulActivation", "GemmFastGelu"}
)
"""The floating-point products of an optimised graph; those with 8-bit operands have names of their own."""

INTEGER_PRODUCTS = frozenset(
    {"QLinearConv", "QLinearMatMul", "QGemm", "ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "QAttention"}
)
"""The products of an optimised graph whose operands are 8-bit integers; some give floats."""

_TYPES = {"float": "float32", "double": "float64"}


def import_onnxruntime(device: str) -> ModuleType:
    """The module `onnxruntime`; raises `MissingPackageError` with the extra that fits the device."""
    try:
        import onnxruntime
    except ImportError as error:
        extra = "cpu" if device == "cpu" else "gpu"
        raise MissingPackageError("onnxruntime", f"the target 'onnxruntime:{device}'", extra) from error
    module: ModuleType = onnxruntime
    return module


class OrtEngine(Engine):
    """A session of ONNX Runtime on one device; `threads` limits the CPU threads inside one operation.

    With `profile`, the beginning of a path, how long each operation takes and who runs it is kept for `end_profile`.
    With `as_written` nothing is fused or moved before.
    """

    def __init__(
        self,
        path: Path,
        device: str,
        threads: int | None = None,
        profile: Path | None = None,
        as_written: bool = False,
    ) -> None:
        self._device = device
        if path.is_file() and path.suffix in (".onnx", ".engine"):
            ort_plugin.check_context(path, device)
        self._session: Any = open_session(path, device, threads, as_written=as_written, profile=profile)
        super().__init__(
            tuple(_tensor(value) for value in self._session.get_inputs()),
            tuple(_tensor(value) for value in self._session.get_outputs()),
        )

    def _infer(self, inputs: Arrays) -> Arrays:
        names = [tensor.name for tensor in self.outputs]
        return dict(zip(names, self._call(lambda: self._session.run(names, dict(inputs))), strict=True))

    def _prepare(self, inputs: Arrays, how: How) -> Callable[[], object]:
        if how == "graph":
            raise UnsupportedError("ONNX Runtime is not asked for CUDA graphs: measure torch:cuda or TensorRT with one")
        on_cpu = how == "copied" or self._device in ("cpu", plugin.DEVICE)  # whose memory only its package knows
        where = "cpu" if on_cpu else "cuda"
        names = [tensor.name for tensor in self.outputs]
        return bound(import_onnxruntime(self._device), self._session, inputs, names, where, self._call)

    def _call(self, run: Callable[[], Any]) -> Any:
        try:
            return run()
        except Exception as error:  # ONNX Runtime's exceptions share no public base class
            raise EngineError(f"ONNX Runtime cannot run the model ({first_line(error)})") from error

    def end_profile(self) -> Path:
        """The file of the times of all runs until now, in the format of Chrome's traces; it is written once."""
        return Path(self._session.end_profiling())

    def _close(self) -> None:
        self._session = None


def open_session(
    path: Path,
    device: str,
    threads: int | None = None,
    optimised: Path | None = None,
    *,
    as_written: bool = False,
    profile: Path | None = None,
) -> Any:
    """A session on `path` whose first provider is really that of `device`; `optimised` receives the fused graph.

    With `as_written` no node is fused or moved, and what lies between is what the graph says. With `profile` its
    operations are timed, for a file whose path begins so.

    Raises `EngineError` where ONNX Runtime does not have the provider, falls back to another, or cannot load the
    file, `ExportError` for a file that it may not open, and `MissingPackageError` where it is not installed.
    """
    onnxruntime = import_onnxruntime(device)
    provider = PROVIDERS[device]
    available, packaged = onnxruntime.get_available_providers(), device == plugin.DEVICE
    if provider not in available and not packaged:
        raise EngineError(
            f"this ONNX Runtime ({onnxruntime.__version__}) has no {provider}, only {', '.join(available)}: "
            "`pip uninstall onnxruntime` and `pip install 'secateur[gpu]'` on a machine with an NVIDIA GPU"
        )
    check_onnx(path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
    if as_written:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights.data")
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    if packaged:
        ort_plugin.plugin_options(onnxruntime, options)
    how = {} if packaged else {"providers": [provider], **session_options(path)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            session = onnxruntime.InferenceSession(str(path), options, **how)
    except Exception as error:  # ONNX Runtime's exceptions share no public base class
        kind = (
            UnsupportedError if "NOT_IMPLEMENTED" in str(error) else EngineError
        )  # no kernel for a type, such as bf16
        raise kind(f"ONNX Runtime cannot load {path} on {device} ({first_line(error)})") from error
    session.disable_fallback()
    active = session.get_providers()
    if active[0] != provider:
        raise FallbackError(
            f"ONNX Runtime was asked for {provider} but would silently run on {active[0]}: the GPU, its driver or the "
            "CUDA and cuDNN libraries do not fit this version; `secateur doctor` says what is here",
            active[0],
        )
    return session


def session_layers(path: Path, device: str) -> tuple[Layer, ...]:
    """The operations that ONNX Runtime really runs for `path` on `device`, after its fusions and casts.

    Those on shapes and indices are left out.
    """
    with tempfile.TemporaryDirectory() as folder:
        optimised = Path(folder) / "optimised.onnx"
        open_session(path, device, threads=1, optimised=optimised)
        return optimised_layers(optimised)


def optimised_layers(path: Path) -> tuple[Layer, ...]:
    """The operations of a graph that ONNX Runtime has optimised, but for those on shapes and indices."""
    graph = read_graph(path)
    types = element_types(graph)
    found = (
        (node, "int8" if node.op_type in INTEGER_PRODUCTS else operand_precision(node, types))
        for node in graph.graph.node
    )
    return tuple(
        Layer(node.name or node.output[0], node.op_type, precision)
        for node, precision in found
        if precision is not None
    )


def check_session(layers: tuple[Layer, ...], declared: Mapping[str, str], device: str) -> None:
    """Raises `UnsupportedError` where the graph declares narrow products, but all that ONNX Runtime runs are wider.

    Such a session is slower than the fp32 one.
    """
    for precision, found in _widened(layers, declared).items():
        raise UnsupportedError(
            f"the ONNX graph is typed in {precision}, but ONNX Runtime on {device} runs its products in {found}: "
            f"it has no {precision} kernels here; use the fp32 graph for this target{_advice(precision, declared)}"
        )


def _advice(precision: str, declared: Mapping[str, str]) -> str:
    """What else helps where products in int8 stand between tensors of 16 bits."""
    between = {"fp16", "bf16"} & {*declared.values()}
    return ", or set export.quantize.rest to fp32" if precision == "int8" and between else ""


def check_fp8(declared: Mapping[str, str], device: str) -> None:
    """Raises `UnsupportedError` for a graph with fp8 products on the CPU, where ONNX Runtime has no such kernels."""
    if device == "cpu" and "fp8" in declared.values():
        raise UnsupportedError(
            "the ONNX graph is typed in fp8, but ONNX Runtime on cpu has no fp8 kernels: use the fp32 graph for this "
            "target"
        )


def widening(path: Path, device: str) -> str:
    """What is to be known of the times of the graph at `path` on `device`; empty where its types are what runs.

    ONNX Runtime's CPU provider casts fp16 tensors to fp32 and back where the processor has no kernels for them, and
    multiplies in int8 only where the output of a convolution is quantised too.
    """
    declared = declared_precisions(read_graph(path))
    if graph_precision(declared) == "fp32":
        return ""
    layers = session_layers(path, device)
    phrases = [
        f"ONNX Runtime on {device} casts the tensors of this {precision} graph and runs its products in {found}: these "
        f"are not the times of {precision} arithmetic"
        for precision, found in _widened(layers, declared).items()
    ]
    asked = sum(precision == "int8" for precision in declared.values())
    run = sum(layer.kind in INTEGER_PRODUCTS for layer in layers)
    if asked > run > 0:
        phrases.append(
            f"ONNX Runtime on {device} runs {asked - run} of the {asked} int8 products of this graph in fp32"
            f"{_named(layers, declared)}: these "
            "are not the times of int8 arithmetic"
        )
    return "; ".join(phrases)


def _named(layers: tuple[Layer, ...], declared: Mapping[str, str]) -> str:
    """The first products that were asked in int8 and run wider, in brackets; the rest as a number."""
    wide = [layer.name for layer in layers if layer.kind in PRODUCTS and declared.get(layer.name) == "int8"]
    more = f" and {len(wide) - 3} more" if len(wide) > 3 else ""
    return f" ({', '.join(wide[:3])}{more})" if wide else ""


def _widened(layers: tuple[Layer, ...], declared: Mapping[str, str]) -> dict[str, str]:
    """The declared narrow precisions in which no product runs, each with those in which they run instead.

    Of a graph in 8 bits that is int8 alone: what is not in it may run as wide as it likes.
    """
    products = {layer.precision for layer in layers if layer.kind in PRODUCTS | INTEGER_PRODUCTS}
    narrow = (
        {graph_precision(dict(declared))} if "int8" in declared.values() else {"fp16", "bf16"} & {*declared.values()}
    )
    wanted = sorted(narrow & {"fp16", "bf16", "int8"})
    found = ", ".join(sorted(products)) or "no product at all"
    return {precision: found for precision in wanted if precision not in products}


def _tensor(value: Any) -> TensorInfo:
    word = str(value.type).removeprefix("tensor(").removesuffix(")")
    shape = tuple(size if isinstance(size, int) else DYNAMIC for size in value.shape)
    return TensorInfo(value.name, _TYPES.get(word, word), shape)
