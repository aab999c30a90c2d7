"""TensorRT's plugin for `secateur::RaggedAttention`: which kind a TensorRT can have, and graphs that need it."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from secateur.core.errors import KernelError
from secateur.kernels.onnx_function import DOMAIN, NAME, VERSION
from secateur.kernels.trt_aot import has_ahead_of_time_plugins, register_ahead_of_time
from secateur.kernels.trt_v3 import make_creator

if TYPE_CHECKING:
    import onnx

Kind = Literal["ahead of time", "python"]
_CREATORS: list[Any] = []  # the registry of TensorRT does not keep Python objects alive


def needs_plugin(model: onnx.ModelProto) -> bool:
    """Whether the graph holds attention that the plugin can take over."""
    return any(node.domain == DOMAIN and node.op_type.startswith(NAME) for node in model.graph.node)


def takes_plugins(trt: ModuleType) -> bool:
    """Whether networks of this runtime can have plugins: TensorRT's can, TensorRT-RTX's cannot."""
    return hasattr(getattr(trt, "INetworkDefinition", None), "add_plugin_v3")


def ready_to_load(trt: ModuleType) -> None:
    """Registers what engines need when they are loaded: the Python plugin, where there is no other kind."""
    if takes_plugins(trt) and not has_ahead_of_time_plugins(trt):
        register_plugin(trt)


def register_plugin(trt: ModuleType) -> Kind:
    """Registers the plugin once and says of which kind it is: `ahead of time`, or `python` before TensorRT 10.9.

    An engine with the plugin `ahead of time` holds its PTX and runs anywhere; one with `python` needs this call,
    PyTorch and pycuda where it runs. Raises `KernelError` for TensorRT-RTX, whose networks take no plugins.
    """
    if not takes_plugins(trt):
        raise KernelError(
            f"{trt.__name__} {trt.__version__} builds no engines with plugins (its networks have no add_plugin_v3): "
            "build from the graph with its functions, or with TensorRT"
        )
    registry = trt.get_plugin_registry()
    ahead = has_ahead_of_time_plugins(trt)
    if registry.get_creator(NAME, str(VERSION), DOMAIN) is None:
        if ahead:
            register_ahead_of_time(trt)
        else:
            creator = make_creator(trt)
            if not registry.register_creator(creator, DOMAIN):
                raise KernelError(f"TensorRT {trt.__version__} refuses the plugin {NAME}: is another one registered?")
            _CREATORS.append(creator)
    return "ahead of time" if ahead else "python"
