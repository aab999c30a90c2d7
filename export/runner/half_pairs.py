"""Graphs that ONNX Runtime's processor kernels change into wrong ones: pairs of Q/DQ in half precision."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

from .wire import fields

WRONG_IN_HALF = ["WeightBiasQuantization"]
"""What ONNX Runtime (1.32, seen) does wrong there: it reads biases in float16 as if they were in float32."""
_MODEL_GRAPH, _GRAPH_NODE, _GRAPH_TENSOR = 7, 1, 5
_NODE_INPUT, _NODE_TYPE, _TENSOR_TYPE, _TENSOR_NAME = 1, 4, 2, 8
_FLOAT16, _SCALE = 10, 1
_PAIRS = (b"QuantizeLinear", b"DequantizeLinear")


def session_options(path: Path) -> dict[str, Any]:
    """What an `InferenceSession` of the graph is given beside its options, so that it computes what the graph says.

    The graph is one that `check_graph` has passed.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return {"disabled_optimizers": WRONG_IN_HALF} if _has_half_pairs(data) else {}


def _has_half_pairs(data: Any) -> bool:
    """Whether a scale of a pair, in the graph itself, is a weight in float16."""
    half, scales = set(), set()
    for number, _, begin, end in fields(data, 0, len(data)):
        if number != _MODEL_GRAPH:
            continue
        for kind, _, start, stop in fields(data, begin, end):
            if kind == _GRAPH_NODE:
                inputs, word = [], b""
                for field, _, first, last in fields(data, start, stop):
                    if field == _NODE_INPUT:
                        inputs.append(bytes(data[first:last]))
                    elif field == _NODE_TYPE:
                        word = bytes(data[first:last])
                if word in _PAIRS:
                    scales.add(inputs[_SCALE])
            elif kind == _GRAPH_TENSOR:
                name, of = b"", 0
                for field, value, first, last in fields(data, start, stop):
                    if field == _TENSOR_TYPE:
                        of = value
                    elif field == _TENSOR_NAME:
                        name = bytes(data[first:last])
                if of == _FLOAT16:
                    half.add(name)
    return bool(half & scales)
