"""What every engine can do, whatever runs it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from secateur.core.errors import EngineError
from secateur.export.runner.tensors import TensorInfo

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
How: TypeAlias = Literal["resident", "copied", "graph"]
"""How an engine is prepared: its inputs and outputs lie on the device, are copied in every run, or are in a graph."""


class Engine(ABC):
    """An engine that is ready to run: a context manager that frees its memory at the end.

    `infer` and `prepare` check the state and the inputs; the runtimes implement what comes after.
    """

    stream: Any = None
    """PyTorch's name for the CUDA stream on which the function of `prepare` leaves its work; None where it waits."""

    def __init__(self, inputs: tuple[TensorInfo, ...], outputs: tuple[TensorInfo, ...]) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self._open = True

    def infer(self, inputs: Arrays) -> Arrays:
        """The outputs by name for the `inputs` by name; raises `EngineError` for inputs that do not fit."""
        return self._infer(self._checked(inputs))

    def prepare(self, inputs: Arrays, how: How = "resident") -> Callable[[], object]:
        """A function that runs the engine once on these inputs, for measurement.

        It returns when the work is done, or with a `stream` when it is launched there, so that events on the stream
        can time it. `resident`: the inputs are on the device already and the outputs stay there. `copied`: both are
        copied within the run, from and to memory of the CPU. `graph`: the launches are one CUDA graph, captured now.
        Raises `UnsupportedError` where the runtime cannot.
        """
        return self._prepare(self._checked(inputs), how)

    def close(self) -> None:
        """Frees what the engine holds; a second call does nothing."""
        if self._open:
            self._open = False
            self._close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _infer(self, inputs: Arrays) -> Arrays: ...

    @abstractmethod
    def _prepare(self, inputs: Arrays, how: How) -> Callable[[], object]: ...

    @abstractmethod
    def _close(self) -> None: ...

    def _checked(self, inputs: Arrays) -> Arrays:
        if not self._open:
            raise EngineError("the engine is closed: open it again")
        wanted = {tensor.name: tensor for tensor in self.inputs}
        if set(inputs) != set(wanted):
            raise EngineError(f"the engine takes the inputs {sorted(wanted)}, but {sorted(inputs)} were given")
        for name, array in inputs.items():
            if str(array.dtype) != wanted[name].dtype or not wanted[name].accepts(array.shape):
                raise EngineError(f"the engine takes {wanted[name]}, but {array.dtype} {list(array.shape)} was given")
        return {name: np.ascontiguousarray(array) for name, array in inputs.items()}
