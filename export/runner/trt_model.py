"""An engine of TensorRT or TensorRT-RTX on the first GPU, in memory of the CUDA driver."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any, Callable

import numpy as np

from .cuda import Cuda
from .errors import InferenceError, UnavailableError, WrongEngineError
from .runtimes import NAMES, Arrays, Model
from .tensors import DYNAMIC, TensorInfo


class TrtModel(Model):
    """One engine with an execution context and a stream of its own; `trt` is the module, `cuda` the GPU's memory.

    `dla` is the accelerator of a Jetson; `lean` names the version whose lean runtime the plan needs, if any. Raises
    `WrongEngineError` with the runtime's reason for an engine that it does not load.
    """

    def __init__(
        self, trt: ModuleType, path: Path, cuda: Cuda | None = None, *, dla: bool = False, lean: str = ""
    ) -> None:
        self._trt, self._name = trt, NAMES.get(trt.__name__, trt.__name__)
        self._cuda = cuda or Cuda()
        self._logger = make_logger(trt)
        try:
            self._runtime = trt.Runtime(self._logger)  # it must outlive the engine
            if lean:
                self._runtime = self._lean(lean)
            if dla:
                self._runtime.DLA_core = 0
            self._engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        except (TypeError, RuntimeError) as error:  # a null runtime from the C++ side
            raise InferenceError(f"{self._name} cannot start on this machine ({self._logger.sentences()})") from error
        if self._engine is None:
            raise WrongEngineError(
                f"{self._name} {trt.__version__} cannot load {path.name} ({self._logger.sentences()}): an engine runs "
                "on the kind of GPU and with the version that it was built for"
            )
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise InferenceError(f"{self._name} cannot make a context for {path.name} ({self._logger.sentences()})")
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        found = [(self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT, self._info(name)) for name in names]
        self.inputs = tuple(info for takes, info in found if takes)
        self.outputs = tuple(info for takes, info in found if not takes)

    def _lean(self, version: str) -> Any:
        """The lean runtime of a version: from the system, for the plan holds no code."""
        library = "libnvinfer_lean.so.{}".format(version.partition(".")[0])
        lean = self._runtime.load_runtime(library)
        if lean is None:
            raise UnavailableError(
                f"the engine was built by TensorRT {version} for newer versions, and its lean runtime {library} does "
                "not load: install it (`pip install tensorrt-lean`, or NVIDIA's packages)"
            )
        return lean

    def _info(self, name: str) -> TensorInfo:
        dtype = self._engine.get_tensor_dtype(name)
        try:
            word = str(np.dtype(self._trt.nptype(dtype)).name)
        except (TypeError, AttributeError) as error:
            raise InferenceError(f"{name!r} of the engine has the type {dtype}, which numpy does not know") from error
        return TensorInfo(name, word, tuple(int(size) for size in self._engine.get_tensor_shape(name)))

    def _run(self, feeds: Arrays) -> dict[str, np.ndarray[Any, Any]]:
        outputs = self._bind(feeds)
        self._launch()
        for place, array in outputs.values():
            self._cuda.fetch(place, array)
        return {name: array for name, (_, array) in outputs.items()}

    def _prepare(self, feeds: Arrays) -> Callable[[], None]:
        self._bind(feeds)
        return self._launch

    def _bind(self, feeds: Arrays) -> dict[str, tuple[int, np.ndarray[Any, Any]]]:
        """For each output its address on the GPU and an array to fetch it into; the inputs are there already."""
        self._cuda.free()
        for name, array in feeds.items():
            if not self._context.set_input_shape(name, tuple(array.shape)):
                smallest, _, largest = self._engine.get_tensor_profile_shape(name, 0)
                raise InferenceError(
                    f"the engine takes {name!r} from {list(smallest)} to {list(largest)}, but {list(array.shape)} "
                    "was given"
                )
            self._address(name, self._cuda.send(array))
        outputs = {}
        for info in self.outputs:
            shape = tuple(int(size) for size in self._context.get_tensor_shape(info.name))
            if DYNAMIC in shape:
                raise InferenceError(
                    f"the shape of {info.name!r} depends on the data, {list(shape)}: it cannot be allocated"
                )
            result: np.ndarray[Any, Any] = np.empty(shape, info.dtype)
            place = self._cuda.allocate(result.nbytes)
            self._address(info.name, place)
            outputs[info.name] = place, result
        return outputs

    def _address(self, name: str, place: int) -> None:
        if not self._context.set_tensor_address(name, place):
            raise InferenceError(f"{self._name} refuses the memory of {name!r} ({self._logger.sentences()})")

    def _launch(self) -> None:
        if self._context is None:
            raise InferenceError("the engine is closed: open it again")
        if not self._context.execute_async_v3(self._cuda.stream):
            raise InferenceError(f"{self._name} cannot run the engine ({self._logger.sentences()})")
        self._cuda.wait()

    def close(self) -> None:
        if self._context is not None:
            self._context = self._engine = self._runtime = None  # in this order: another is undefined in TensorRT
            self._cuda.close()


def make_logger(trt: ModuleType) -> Any:
    """A logger for `trt` that prints nothing; `sentences()` gives the errors as one text."""

    class Collector(trt.ILogger):  # type: ignore[name-defined, misc]  # the base class is known at run time only
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(" ".join(message.split()))

        def sentences(self) -> str:
            return "; ".join(dict.fromkeys(self.errors)) or "the runtime gives no reason"

    return Collector()
