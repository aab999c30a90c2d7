"""Running a TensorRT or TensorRT-RTX engine on the GPU, with PyTorch's CUDA tensors as its memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import torch

from secateur.core.errors import EngineError, UnsupportedError
from secateur.export.engine import Arrays, Engine, How
from secateur.export.engine_info import EngineInfo
from secateur.export.runner.tensors import DYNAMIC, TensorInfo
from secateur.export.trt_inspect import InspectedLayer, engine_layers
from secateur.export.trt_runtime import make_logger, numpy_name
from secateur.kernels.trt_features import NAMES
from secateur.kernels.trt_plugin import ready_to_load

Tensors: TypeAlias = Mapping[str, torch.Tensor]


class TrtEngine(Engine):
    """An engine in memory of the GPU, with one execution context and one stream of its own."""

    def __init__(self, trt: ModuleType, path: Path, device: str = "cuda", info: EngineInfo | None = None) -> None:
        self._name = NAMES.get(trt.__name__, trt.__name__)
        self._trt = trt
        self._device = torch.device(device)
        self._engine, self._logger = load_plan(trt, _read(path), str(path), info)
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise EngineError(f"{self._name} cannot make a context for {path} ({self._logger.sentences()})")
        self._profiler: Any = None
        if self._device.type == "cuda":
            self.stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        mode = trt.TensorIOMode.INPUT
        inputs = [name for name in names if self._engine.get_tensor_mode(name) == mode]
        super().__init__(
            tuple(self._info(name) for name in inputs),
            tuple(self._info(name) for name in names if name not in inputs),
        )

    def _info(self, name: str) -> TensorInfo:
        shape = tuple(int(size) for size in self._engine.get_tensor_shape(name))
        return TensorInfo(name, numpy_name(self._trt, self._engine.get_tensor_dtype(name)), shape)

    def _infer(self, inputs: Arrays) -> Arrays:
        held, outputs = self._bind(inputs)
        self._launch()
        self._wait()
        del held
        return {name: tensor.cpu().numpy() for name, tensor in outputs.items()}

    def _prepare(self, inputs: Arrays, how: How) -> Callable[[], object]:
        held, outputs = tensors = self._bind(inputs)
        if how == "copied":
            return self._copying(inputs, held, outputs)
        if how == "graph":
            return self._captured(tensors)

        def call(_held: object = tensors) -> None:
            self._launch()

        return call

    def _copying(self, inputs: Arrays, held: Tensors, outputs: Tensors) -> Callable[[], Tensors]:
        """Copies in, a launch and copies out, on the engine's stream; returns the outputs in pinned memory."""
        pinned = self._device.type == "cuda"
        sources = {name: torch.from_numpy(array) for name, array in inputs.items()}
        if pinned:
            sources = {name: tensor.pin_memory() for name, tensor in sources.items()}
        there = {name: torch.empty_like(one, device="cpu", pin_memory=pinned) for name, one in outputs.items()}

        def call() -> Tensors:
            with torch.cuda.stream(self.stream):
                for name, tensor in held.items():
                    tensor.copy_(sources[name], non_blocking=True)
                self._launch()
                for name, tensor in there.items():
                    tensor.copy_(outputs[name], non_blocking=True)
            return there

        return call

    def _captured(self, tensors: object) -> Callable[[], object]:
        """A launch as a CUDA graph; one launch before it, as TensorRT's documentation asks for, readies the context."""
        if self.stream is None:
            raise UnsupportedError(f"{self._name} is not on a GPU here, and CUDA graphs are for GPUs")
        self._launch()
        self._wait()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            self._launch()

        def replay(_held: object = tensors) -> None:
            if self._context is None:
                raise EngineError("the engine is closed: open it again")
            with torch.cuda.stream(self.stream):
                graph.replay()

        return replay

    def layers(self) -> tuple[InspectedLayer, ...]:
        """What the engine inspector says about its layers; raises `EngineError` for an engine that holds names only."""
        return engine_layers(self._trt, self._engine)

    def report_layers(self) -> list[tuple[str, float]]:
        """A list that each run from now on adds its layers to: their names and milliseconds, in their order."""
        reported: list[tuple[str, float]] = []

        class Profiler(self._trt.IProfiler):  # type: ignore[name-defined, misc]  # the base class is known at run time only
            def __init__(self, trt: ModuleType) -> None:
                trt.IProfiler.__init__(self)

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                reported.append((layer_name, ms))

        self._profiler = Profiler(self._trt)  # which the context does not keep alive
        self._context.profiler = self._profiler
        return reported

    def _bind(self, inputs: Arrays) -> tuple[Tensors, Tensors]:
        """The inputs and the outputs on the device, their addresses given to the context."""
        held = {}
        for name, array in inputs.items():
            held[name] = torch.tensor(array, device=self._device)
            if not self._context.set_input_shape(name, tuple(array.shape)):
                smallest, _, largest = self._engine.get_tensor_profile_shape(name, 0)
                raise UnsupportedError(
                    f"the engine takes {name!r} from {list(smallest)} to {list(largest)}, but {list(array.shape)} was "
                    f"given: use such a batch, or build the engine for it ({self._logger.sentences()})"
                )
            self._address(name, held[name])
        outputs = {}
        for info in self.outputs:
            shape = tuple(int(size) for size in self._context.get_tensor_shape(info.name))
            if DYNAMIC in shape:
                raise EngineError(
                    f"the shape of {info.name!r} depends on the data, {list(shape)}: it cannot be allocated"
                )
            dtype = getattr(torch, info.dtype)
            outputs[info.name] = torch.empty(shape, dtype=dtype, device=self._device)
            self._address(info.name, outputs[info.name])
        if self.stream is not None:
            self.stream.wait_stream(torch.cuda.current_stream(self._device))
        return held, outputs

    def _address(self, name: str, tensor: torch.Tensor) -> None:
        if not self._context.set_tensor_address(name, tensor.data_ptr()):
            raise EngineError(f"{self._name} refuses the memory of {name!r} ({self._logger.sentences()})")

    def _launch(self) -> None:
        if self._context is None:
            raise EngineError("the engine is closed: open it again")
        if not self._context.execute_async_v3(self.stream.cuda_stream if self.stream is not None else 0):
            raise EngineError(f"{self._name} cannot run the engine ({self._logger.sentences()})")

    def _wait(self) -> None:
        if self.stream is not None:
            self.stream.synchronize()

    def _close(self) -> None:
        self._context = self._profiler = None  # before its engine: the other order is undefined in TensorRT
        self._engine = None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EngineError(f"cannot read {path}: {error.strerror or error}") from error


def load_plan(trt: ModuleType, plan: Any, what: str, info: EngineInfo | None = None) -> tuple[Any, Any]:
    """The engine in the buffer `plan` as the runtime loads it, and the logger that must outlive it.

    `info` says what else it needs: a DLA, or the lean runtime of the version that it was built with. Raises
    `EngineError` naming `what` where this machine, GPU or version cannot load it.
    """
    logger = make_logger(trt)
    name = NAMES.get(trt.__name__, trt.__name__)
    ready_to_load(trt)
    try:
        runtime = trt.Runtime(logger)
        if info is not None and info.options.versions != "this":
            runtime = _lean_runtime(runtime, info, what)
        if info is not None and info.target == "tensorrt:dla":
            runtime.DLA_core = 0
        engine = runtime.deserialize_cuda_engine(plan)
    except (TypeError, RuntimeError) as error:  # a null runtime from the C++ side
        raise EngineError(f"{name} cannot start on this machine ({logger.sentences()})") from error
    if engine is None:
        raise EngineError(
            f"{name} {trt.__version__} cannot load {what} ({logger.sentences()}): an engine runs on the kind of GPU "
            "and with the version that it was built for; build it again for this machine"
        )
    return engine, logger


def _lean_runtime(runtime: Any, info: EngineInfo, what: str) -> Any:
    """The lean runtime of the version that built an engine: from the system, for the engine holds no code."""
    library = f"libnvinfer_lean.so.{info.runtime_version.partition('.')[0]}"
    lean = runtime.load_runtime(library)
    if lean is None:
        raise EngineError(
            f"{what} was built by TensorRT {info.runtime_version} for newer versions, and its lean runtime {library} "
            "does not load: install it (`pip install tensorrt-lean`, or NVIDIA's packages), or build the engine here"
        )
    return lean


def gpu_capability() -> str:
    """The compute capability of the first GPU, as `sm_86`; empty where PyTorch sees none."""
    if not torch.cuda.is_available():
        return ""
    major, minor = torch.cuda.get_device_capability(0)
    return f"sm_{major}{minor}"
