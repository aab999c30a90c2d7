"""A model that is ready to run, by ONNX Runtime or TensorRT: `open_model` by the name of a target."""

from __future__ import annotations

import contextlib
import importlib
import io
from abc import ABC, abstractmethod
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Iterable, Mapping

import numpy as np

from . import plugin
from .errors import InferenceError, UnavailableError
from .graph_check import check_graph
from .half_pairs import session_options
from .tensors import TensorInfo
from .text import first_line

Arrays = Mapping[str, "np.ndarray[Any, Any]"]
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
PROVIDERS[plugin.DEVICE] = plugin.PROVIDER
NAMES = {"onnxruntime": "ONNX Runtime", "tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}
_PACKAGES = {"onnxruntime": "onnxruntime", "tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt-rtx"}


class Model(ABC):
    """A model by the names of its inputs and outputs: a context manager that frees its memory at the end."""

    inputs: tuple[TensorInfo, ...] = ()
    outputs: tuple[TensorInfo, ...] = ()

    def run(self, feeds: Arrays) -> dict[str, np.ndarray[Any, Any]]:
        """The outputs by name; raises `InferenceError` for inputs that do not fit and where the runtime fails."""
        return self._run(self._checked(feeds))

    def prepare(self, feeds: Arrays) -> Callable[[], None]:
        """A function that runs the model once on these inputs and returns when it is done, copying nothing."""
        return self._prepare(self._checked(feeds))

    @abstractmethod
    def close(self) -> None:
        """Frees what the model holds."""

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    @abstractmethod
    def _run(self, feeds: Arrays) -> dict[str, np.ndarray[Any, Any]]: ...

    @abstractmethod
    def _prepare(self, feeds: Arrays) -> Callable[[], None]: ...

    def _checked(self, feeds: Arrays) -> Arrays:
        wanted = {tensor.name: tensor for tensor in self.inputs}
        if set(feeds) != set(wanted):
            raise InferenceError(f"the model takes the inputs {sorted(wanted)}, but {sorted(feeds)} were given")
        for name, array in feeds.items():
            if str(array.dtype) != wanted[name].dtype or not wanted[name].accepts(array.shape):
                raise InferenceError(f"the model takes {wanted[name]}, but {array.dtype} {list(array.shape)} was given")
        return {name: np.ascontiguousarray(array) for name, array in feeds.items()}


def import_runtime(runtime: str) -> ModuleType:
    """The module of a runtime; raises `UnavailableError` where it is not installed or does not load."""
    try:
        return importlib.import_module(runtime)
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"{NAMES[runtime]} is not installed for this Python: `pip install {_PACKAGES[runtime]}`, or take "
            "the one of JetPack"
        ) from error
    except (ImportError, OSError, RuntimeError) as error:  # the package is there, a library that it loads is not
        raise UnavailableError(f"{NAMES[runtime]} is installed but does not load ({first_line(error)})") from error


def open_model(path: Path, target: str, threads: int | None = None, lean: str = "") -> Model:
    """The model in an .onnx file or an engine, on a target such as `onnxruntime:cpu` or `tensorrt_rtx:sm_86`.

    `threads` limits the threads of ONNX Runtime on the CPU; `lean` is the version of TensorRT that a plan for newer
    ones was built with. Raises `UnavailableError` where the runtime or the device is not here, `InferenceError` for a
    file that it cannot load.
    """
    runtime, _, device = target.partition(":")
    module = import_runtime(runtime)
    if runtime == "onnxruntime":
        return OrtModel(module, path, device or "cpu", threads)
    from .trt_model import TrtModel

    return TrtModel(module, path, dla=device == "dla", lean=lean)


def lacking_provider(module: ModuleType, device: str) -> str:
    """Why ONNX Runtime does not run on a device of this name here, as a sentence; empty where it does."""
    if device == plugin.DEVICE:
        try:
            plugin.plugin_devices(module)
        except UnavailableError as error:
            return str(error)
        return ""
    provider, there = PROVIDERS.get(device, device), module.get_available_providers()
    if provider in there:
        return ""
    return f"this ONNX Runtime ({module.__version__}) has no {provider}, only {', '.join(there)}"


def open_session(module: ModuleType, path: Path, options: Any, device: str) -> Any:
    """A session of ONNX Runtime with these options, which asks for the provider of a device and for no other.

    Raises `InferenceError` for a graph that `check_graph` refuses.
    """
    check_graph(path)
    if device == plugin.DEVICE:
        plugin.plugin_options(module, options)
        return module.InferenceSession(str(path), options)
    how = session_options(path)
    return module.InferenceSession(str(path), options, providers=[PROVIDERS.get(device, device)], **how)


class OrtModel(Model):
    """A session of ONNX Runtime on the provider that was asked for, and on no other."""

    def __init__(self, module: ModuleType, path: Path, device: str, threads: int | None) -> None:
        provider = PROVIDERS.get(device, device)
        if lacking := lacking_provider(module, device):
            raise UnavailableError(lacking)
        options = module.SessionOptions()
        options.log_severity_level = 4
        if threads is not None:
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # it prints there before it tries the same once more
                self._session: Any = open_session(module, path, options, device)
        except InferenceError:
            raise
        except Exception as error:  # ONNX Runtime's exceptions share no public base class
            raise InferenceError(
                f"ONNX Runtime {module.__version__} cannot load {path.name} ({first_line(error)})"
            ) from error
        self._session.disable_fallback()
        if self._session.get_providers()[0] != provider:
            raise UnavailableError(f"ONNX Runtime was asked for {provider}, but would silently run on another")
        on_cpu = device in ("cpu", plugin.DEVICE)  # whose memory only its package knows
        self._module, self._where = module, "cpu" if on_cpu else "cuda"
        self.inputs = tuple(_tensor(value) for value in self._session.get_inputs())
        self.outputs = tuple(_tensor(value) for value in self._session.get_outputs())

    def _run(self, feeds: Arrays) -> dict[str, np.ndarray[Any, Any]]:
        names = [tensor.name for tensor in self.outputs]
        return dict(zip(names, self._call(lambda: self._session.run(names, dict(feeds)))))

    def _prepare(self, feeds: Arrays) -> Callable[[], None]:
        names = [tensor.name for tensor in self.outputs]
        return bound(self._module, self._session, feeds, names, self._where, self._call)

    def _call(self, run: Callable[[], Any]) -> Any:
        try:
            return run()
        except Exception as error:  # ONNX Runtime's exceptions share no public base class
            raise InferenceError(f"ONNX Runtime cannot run the model ({first_line(error)})") from error

    def close(self) -> None:
        self._session = None


def bound(
    module: ModuleType,
    session: Any,
    feeds: Arrays,
    outputs: Iterable[str],
    where: str,
    calling: Callable[[Callable[[], Any]], Any],
) -> Callable[[], None]:
    """A function that runs a session of ONNX Runtime once on inputs that lie on its device, `calling` what runs it."""
    binding = session.io_binding()
    held = {name: module.OrtValue.ortvalue_from_numpy(array, where, 0) for name, array in feeds.items()}
    for name, value in held.items():
        binding.bind_ortvalue_input(name, value)
    for name in outputs:
        binding.bind_output(name, where)

    def call(_held: object = held) -> None:
        calling(lambda: session.run_with_iobinding(binding))
        binding.synchronize_outputs()

    return call


def _tensor(value: Any) -> TensorInfo:
    word = str(value.type).replace("tensor(", "").rstrip(")")
    shape = tuple(size if isinstance(size, int) else -1 for size in value.shape)
    return TensorInfo(value.name, {"float": "float32", "double": "float64"}.get(word, word), shape)
