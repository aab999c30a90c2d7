"""A stand-in for `tensorrt` with `tensorrt.plugin`, as far as an ahead-of-time plugin uses it, with its checks.

The checks are those of TensorRT's own `tensorrt/plugin/_validate.py`: annotations are objects, tensors come first, and
the functions take exactly the registered names. Symbolic sizes are evaluated at once, from the shape given to `build`.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from enum import Enum
from types import ModuleType
from typing import Any

import numpy as np

ATTRIBUTE_TYPES = (int, float, bytes, bool, str)


class DataType(Enum):
    FLOAT = 0
    HALF = 1
    BF16 = 2
    INT32 = 3


class TensorDesc:
    def __init__(self, shape_expr: tuple[int, ...], dtype: DataType) -> None:
        self.shape_expr, self.dtype = shape_expr, dtype


class SymExprs:
    pass


class SymIntExprs(SymExprs):
    def __init__(self, length: int) -> None:
        self.values: list[int | None] = [None] * length

    def __setitem__(self, index: int, value: int) -> None:
        self.values[index] = value


class KernelLaunchParams:
    grid_x = grid_y = grid_z = block_x = block_y = block_z = 1
    shared_mem = 0


class AutoTuneCombination:
    def __init__(self, types: str, layouts: str, tactics: list[int]) -> None:
        self.types, self.layouts, self.tactics = types, layouts, tactics


class Registry:
    """Of plugins and creators; `names` are `namespace::name`."""

    def __init__(self) -> None:
        self.plugins: dict[str, dict[str, Callable[..., Any]]] = {}
        self.creators: dict[str, Any] = {}
        self.refuse = False

    def get_creator(self, name: str, version: str, namespace: str) -> Any:
        return self.creators.get(f"{namespace}::{name}")

    def register_creator(self, creator: Any, namespace: str) -> bool:
        self.creators[f"{namespace}::{creator.name}"] = creator
        return not self.refuse

    def register(self, plugin_id: str) -> Callable[..., Any]:
        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            for index, (name, parameter) in enumerate(inspect.signature(function).parameters.items()):
                if not issubclass(typing.get_origin(parameter.annotation) or parameter.annotation, TensorDesc):
                    assert index > 0 and name not in ("outputs", "stream", "tactic")
                    array = typing.get_origin(parameter.annotation) is np.ndarray
                    assert array or parameter.annotation in ATTRIBUTE_TYPES, parameter.annotation
            assert issubclass(inspect.signature(function).return_annotation, TensorDesc)
            assert plugin_id not in self.creators
            self.plugins[plugin_id] = {"register": function}
            self.creators[plugin_id] = object()
            return function

        return decorate

    def further(self, kind: str, last: tuple[str, ...]) -> Callable[[str], Callable[..., Any]]:
        def decorator(plugin_id: str) -> Callable[..., Any]:
            def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
                names = list(inspect.signature(self.plugins[plugin_id]["register"]).parameters)
                assert list(inspect.signature(function).parameters) == [*names, *last]
                if kind == "aot_impl":
                    returned = typing.get_args(inspect.signature(function).return_annotation)
                    assert [kind in (str, bytes) for kind in returned[:2]] == [True, True]
                    assert issubclass(returned[2], KernelLaunchParams) and issubclass(returned[3], SymExprs)
                self.plugins[plugin_id][kind] = function
                return function

            return decorate

        return decorator


def make_modules(ahead_of_time: bool = True) -> tuple[Any, Any, Registry]:
    """`tensorrt`, `tensorrt.plugin` and the registry behind both; without `ahead_of_time` as TensorRT 10.3 is."""
    registry = Registry()
    trt: Any = ModuleType("tensorrt")
    trt.__version__ = "10.9.0" if ahead_of_time else "10.3.0"
    trt.float32, trt.float16, trt.bfloat16 = DataType.FLOAT, DataType.HALF, DataType.BF16
    trt.INetworkDefinition = type("INetworkDefinition", (), {"add_plugin_v3": None})
    trt.get_plugin_registry = lambda: registry
    plugin: Any = ModuleType("tensorrt.plugin")
    for thing in (TensorDesc, SymExprs, SymIntExprs, KernelLaunchParams, AutoTuneCombination):
        setattr(plugin, thing.__name__, thing)
    plugin.from_shape_expr, plugin.SymInt32 = TensorDesc, int
    plugin.cdiv = lambda a, b: -(-a // b)
    plugin.register, plugin.autotune = registry.register, registry.further("autotune", ("outputs",))
    if ahead_of_time:
        plugin.aot_impl = registry.further("aot_impl", ("outputs", "tactic"))
    return trt, plugin, registry
