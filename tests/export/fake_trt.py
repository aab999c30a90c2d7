"""A stand-in for the module `tensorrt` that runs on the CPU: its one engine adds up each image of a batch.

It has what `trt_engine` and `trt_runtime` use, checks how it is used, and can be told to refuse a call.
"""

from __future__ import annotations

import ctypes
import json
from enum import Enum
from math import prod
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

LARGEST = 4
LAYERS: list[tuple[dict[str, Any], float]] = [
    ({"Name": "Reformatting CopyNode for Input Tensor 0 to total", "LayerType": "Reformat"}, 0.25),
    ({"Name": "total", "LayerType": "kgen", "Metadata": "[ONNX Layer: node_total]"}, 0.5),
]
"""What the engine's inspector says of its layers, and the milliseconds that each takes in the first run; in the second
twice as many, and so on."""


class DataType(Enum):
    FLOAT = 0
    BF16 = 1


class TensorIOMode(Enum):
    INPUT = 0
    OUTPUT = 1


class ILogger:
    ERROR, INTERNAL_ERROR, WARNING = "error", "internal error", "warning"


class IProfiler:
    pass


class Context:
    profiler: Any = None

    def __init__(self, refuse: str) -> None:
        self.refuse = refuse
        self.shape: tuple[int, ...] = ()
        self.addresses: dict[str, int] = {}
        self.runs = 0

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == "input"
        self.shape = shape
        return shape[0] <= LARGEST

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1,) if self.refuse == "shape" else self.shape[:1]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return self.refuse != "address"

    def execute_async_v3(self, stream: int) -> bool:
        image = np.ctypeslib.as_array((ctypes.c_float * prod(self.shape)).from_address(self.addresses["input"]))
        total = np.ctypeslib.as_array((ctypes.c_float * self.shape[0]).from_address(self.addresses["total"]))
        total[:] = image.reshape(self.shape[0], -1).sum(1)
        self.runs += 1
        for layer, ms in LAYERS if self.profiler is not None else ():
            self.profiler.report_layer_time(layer["Name"], ms * self.runs)
        return self.refuse != "run"


class Engine:
    num_io_tensors = 2

    def __init__(self, refuse: str) -> None:
        self.refuse = refuse

    def create_execution_context(self) -> Context | None:
        return None if self.refuse == "context" else Context(self.refuse)

    def create_engine_inspector(self) -> SimpleNamespace:
        content = json.dumps({"Layers": [layer for layer, _ in LAYERS]})
        return SimpleNamespace(get_engine_information=lambda kind: content)

    def get_tensor_name(self, index: int) -> str:
        return ("input", "total")[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name == "input" else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, 2, 3) if name == "input" else (-1,)

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType.FLOAT

    def get_tensor_profile_shape(self, name: str, index: int) -> tuple[tuple[int, ...], ...]:
        return (1, 2, 3), (1, 2, 3), (LARGEST, 2, 3)


def make_module(refuse: str = "", version: str = "10.3.0") -> ModuleType:
    """The module; `refuse` names what fails: `engine`, `runtime`, `context`, `shape`, `address` or `run`."""

    class Runtime:
        def __init__(self, logger: Any) -> None:
            if refuse == "runtime":
                raise TypeError("pybind11::init(): factory function returned nullptr")
            self.logger = logger

        def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
            if refuse == "engine" or plan != b"plan":
                self.logger.log(ILogger.WARNING, "not a reason")
                self.logger.log(ILogger.ERROR, "IRuntime::load: Error Code 6: the plan is of another GPU")
                return None
            return Engine(refuse)

    module: Any = ModuleType("tensorrt")
    module.__version__ = version
    module.ILogger, module.Runtime, module.DataType, module.TensorIOMode = ILogger, Runtime, DataType, TensorIOMode
    module.IProfiler, module.LayerInformationFormat = IProfiler, SimpleNamespace(JSON="json")
    module.bfloat16 = DataType.BF16
    module.nptype = lambda dtype: {DataType.FLOAT: np.float32}[dtype]
    return module
