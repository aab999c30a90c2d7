"""Graphs that ONNX Runtime's processor kernels change into wrong ones: pairs of Q/DQ in half precision."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

from .onnx_fields import GRAPH_NODE, GRAPH_TENSOR, MODEL_GRAPH, NODE_INPUT, NODE_KIND, TENSOR_NAME, TENSOR_TYPE
from .wire import fields

WRONG_IN_HALF = ["WeightBiasQuantization"]
"""What ONNX Runtime (1.32, seen) does wrong there: it reads biases in float16 as if they were in float32."""
_FLOAT16, _SCALE = 10, 1
_PAIRS = {b"QuantizeLinear", b"DequantizeLinear"}


def session_options(path: Path) -> dict[str, Any]:
    """What an `InferenceSession` of the graph is given beside its options, so that it computes what the graph says.

    The graph is one that `check_graph` has passed.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return {"disabled_optimizers": WRONG_IN_HALF} if _has_half_pairs(data) else {}


def _has_half_pairs(data: Any) -> bool:
    """Whether a scale of a pair, in the graph itself, is a weight in float16."""
    half: set[bytes] = set()
    scales: set[bytes] = set()
    graphs = [span for number, _, *span in fields(data, 0, len(data)) if number == MODEL_GRAPH]
    for number, _, start, end in (field for graph in graphs for field in fields(data, *graph)):
        if number == GRAPH_NODE:
            scales |= _scale_of(data, start, end)
        elif number == GRAPH_TENSOR:
            half |= _name_in_half(data, start, end)
    return bool(half & scales)


def _scale_of(data: Any, start: int, end: int) -> set[bytes]:
    """The name of a node's scale, where it is of a pair and reads one."""
    found = list(fields(data, start, end))
    kinds = {data[begin:stop] for number, _, begin, stop in found if number == NODE_KIND}
    inputs = [data[begin:stop] for number, _, begin, stop in found if number == NODE_INPUT]
    return set(inputs[_SCALE : _SCALE + 1]) if kinds & _PAIRS else set()


def _name_in_half(data: Any, start: int, end: int) -> set[bytes]:
    """The name of a tensor, where it is in float16."""
    found = list(fields(data, start, end))
    kinds = {value for number, value, _, _ in found if number == TENSOR_TYPE}
    return {data[begin:stop] for number, _, begin, stop in found if number == TENSOR_NAME and _FLOAT16 in kinds}
