"""PyTorch's ONNX exporter with its table of translations made once a session: half the time of a small export."""

from __future__ import annotations

import functools
import sys

MODULE = "torch.onnx._internal.exporter._registration"


def keep_the_table() -> None:
    """Makes the exporter keep its table from now on; nothing where it is not imported yet, or is built otherwise.

    The table depends on the opset alone, and an export without translations of its own, as all of ours, only reads it.
    """
    registry = getattr(sys.modules.get(MODULE), "ONNXRegistry", None)
    made = getattr(registry, "from_torchlib", None)
    if made is not None and not hasattr(made, "cache_info"):
        registry.from_torchlib = staticmethod(functools.cache(made))
