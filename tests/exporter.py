"""PyTorch's ONNX exporter with what every export looks up looked up once: half the time of a small one."""

from __future__ import annotations

import functools
import sys
from types import ModuleType

import torch

TABLE = "torch.onnx._internal.exporter._registration"
OPERATORS = "torch._export.utils"


def keep_the_tables() -> None:
    """Makes the exporter keep what it has looked up; nothing where it is not imported yet, or is built otherwise.

    The table of translations depends on the opset alone, and an export without translations of its own, as all of ours,
    only reads it.
    """
    registry = getattr(sys.modules.get(TABLE), "ONNXRegistry", None)
    made = getattr(registry, "from_torchlib", None)
    if made is not None and not hasattr(made, "cache_info"):
        registry.from_torchlib = staticmethod(functools.cache(made))
    utilities = sys.modules.get(OPERATORS)
    if hasattr(utilities, "_materialize_cpp_cia_ops"):
        _name_operators_once(utilities)


def _name_operators_once(utilities: ModuleType) -> None:
    """Makes `torch.ops` name composite operators, which it keeps, only where there are others than before."""
    name_all = utilities._materialize_cpp_cia_ops
    if hasattr(name_all, "named"):
        return

    def name_new() -> None:
        now = torch._C._dispatch_get_registrations_for_dispatch_key("CompositeImplicitAutograd")
        if now != name_new.named:
            name_all()
            name_new.named = now

    name_new.named = []
    utilities._materialize_cpp_cia_ops = name_new
