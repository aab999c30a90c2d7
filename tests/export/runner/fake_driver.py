"""A stand-in for the library of the CUDA driver whose memory is that of this process; it counts what is given back."""

from __future__ import annotations

import ctypes
from typing import Any


class FakeDriver:
    """Has what `cuda` calls; `fails` maps a function to the error that it returns."""

    def __init__(self, **fails: int) -> None:
        self.fails = fails
        self.blocks: dict[int, Any] = {}
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            self.calls.append(name)
            if name in self.fails:
                return self.fails[name]
            getattr(self, f"_{name.split('_')[0]}", lambda *_: None)(*arguments)
            return 0

        if name.startswith("_"):
            raise AttributeError(name)
        return call

    def _cuMemAlloc(self, place: Any, size: ctypes.c_size_t) -> None:
        block = ctypes.create_string_buffer(size.value)
        self.blocks[ctypes.addressof(block)] = block
        ctypes.cast(place, ctypes.POINTER(ctypes.c_uint64))[0] = ctypes.addressof(block)

    def _cuMemFree(self, place: ctypes.c_uint64) -> None:
        del self.blocks[place.value]

    def _cuMemcpyHtoD(self, place: ctypes.c_uint64, source: ctypes.c_void_p, size: ctypes.c_size_t) -> None:
        ctypes.memmove(place.value, source, size.value)

    def _cuMemcpyDtoH(self, into: ctypes.c_void_p, place: ctypes.c_uint64, size: ctypes.c_size_t) -> None:
        ctypes.memmove(into, place.value, size.value)

    def _cuGetErrorString(self, code: int, said: Any) -> None:
        ctypes.cast(said, ctypes.POINTER(ctypes.c_char_p))[0] = b"out of memory"
