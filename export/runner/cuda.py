"""Memory and a stream of the first GPU, by the CUDA driver's own functions: what TensorRT needs, without PyTorch."""

from __future__ import annotations

import ctypes
from typing import Any, Callable

import numpy as np

from .errors import InferenceError, UnavailableError
from .machine import load_driver

Address = int


class Cuda:
    """A stream and blocks of memory in the primary context of the first GPU; `close` gives them back.

    Raises `UnavailableError` where there is no driver or no GPU. `driver` is the library, by default the one installed.
    """

    def __init__(self, driver: Any = None) -> None:
        self._driver: Any = load_driver() if driver is None else driver
        if self._driver is None:
            raise UnavailableError(
                "there is no NVIDIA driver here (libcuda.so.1): TensorRT engines run on its GPUs only"
            )
        self._blocks: list[Address] = []
        self._device = ctypes.c_int()
        context, stream = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuInit", 0)
        self._call("cuDeviceGet", ctypes.byref(self._device), 0)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
        self._call("cuCtxSetCurrent", context)
        self._call("cuStreamCreate", ctypes.byref(stream), 1)  # non-blocking: it waits for no other stream
        self.stream = int(stream.value or 0)

    def allocate(self, size_bytes: int) -> Address:
        """The address of that many bytes on the GPU."""
        block = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(block), ctypes.c_size_t(max(1, size_bytes)))
        self._blocks.append(block.value)
        return block.value

    def send(self, array: np.ndarray[Any, Any]) -> Address:
        """The address of a copy of the array on the GPU."""
        place = self.allocate(array.nbytes)
        self._call(
            "cuMemcpyHtoD_v2", ctypes.c_uint64(place), ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes)
        )
        return place

    def fetch(self, place: Address, array: np.ndarray[Any, Any]) -> None:
        """Fills the array from the GPU."""
        self._call(
            "cuMemcpyDtoH_v2", ctypes.c_void_p(array.ctypes.data), ctypes.c_uint64(place), ctypes.c_size_t(array.nbytes)
        )

    def wait(self) -> None:
        """Returns when all work of the stream is done."""
        self._call("cuStreamSynchronize", ctypes.c_void_p(self.stream))

    def free(self) -> None:
        """Gives all blocks of memory back."""
        while self._blocks:
            self._call("cuMemFree_v2", ctypes.c_uint64(self._blocks.pop()))

    def close(self) -> None:
        """Gives the memory, the stream and the context back."""
        if self._driver is not None:
            self.free()
            self._call("cuStreamDestroy_v2", ctypes.c_void_p(self.stream))
            self._call("cuDevicePrimaryCtxRelease_v2", self._device)
            self._driver = None

    def _call(self, name: str, *arguments: object) -> None:
        function: Callable[..., int] = getattr(self._driver, name)
        code = function(*arguments)
        if code == 100:  # CUDA_ERROR_NO_DEVICE
            raise UnavailableError("the NVIDIA driver sees no GPU here: TensorRT engines run on its GPUs only")
        if code:
            said = ctypes.c_char_p()
            self._driver.cuGetErrorString(code, ctypes.byref(said))
            words = (said.value or b"an unknown error").decode("utf-8", "replace")
            raise InferenceError(f"the CUDA driver refuses {name} (error {code}: {words})")
