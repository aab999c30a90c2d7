"""The execution provider of ONNX Runtime that is a package of its own: NVIDIA's TensorRT-RTX.

The package registers its library with ONNX Runtime, which then lists the devices that it serves; a session is made for
these devices (ONNX Runtime's "plugin execution provider libraries").
"""

from __future__ import annotations

import importlib
from functools import lru_cache
from types import ModuleType
from typing import Any

from .errors import UnavailableError
from .text import first_line

DEVICE, PROVIDER = "tensorrt_rtx", "NvTensorRTRTXExecutionProvider"
PACKAGE = "onnxruntime_ep_nv_tensorrt_rtx"


def plugin_options(onnxruntime: ModuleType, options: Any) -> None:
    """Makes a session with these options run on the provider's devices alone.

    What it cannot run is an error of the session, and does not go to the CPU. Raises `UnavailableError` without the
    package, where it does not load, where ONNX Runtime takes no plugins, or has no such device.
    """
    options.add_provider_for_devices(plugin_devices(onnxruntime), {})
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")


def plugin_devices(onnxruntime: ModuleType) -> list[Any]:
    """The devices that the provider serves, of which there are some; raises as `plugin_options` does."""
    _register(onnxruntime)
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == PROVIDER]
    if not devices:
        raise UnavailableError(f"{PROVIDER} finds no GPU that it serves here: `nvidia-smi` says what is here")
    return devices


@lru_cache(maxsize=None)
def _register(onnxruntime: ModuleType) -> None:
    """Makes ONNX Runtime know the provider, once in a process."""
    try:
        package = importlib.import_module(PACKAGE)
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"{PROVIDER} is not installed for this Python: `pip install {PACKAGE.replace('_', '-')}`"
        ) from error
    if not hasattr(onnxruntime, "register_execution_provider_library"):
        raise UnavailableError(
            f"ONNX Runtime {onnxruntime.__version__} takes no providers from packages: `pip install onnxruntime>=1.24`"
        )
    try:
        onnxruntime.register_execution_provider_library(PROVIDER, package.get_library_path())
    except Exception as error:  # ONNX Runtime's exceptions share no public base class
        raise UnavailableError(
            f"{PROVIDER} does not load ({first_line(error)}): it needs an NVIDIA RTX GPU since Ampere and its driver"
        ) from error
