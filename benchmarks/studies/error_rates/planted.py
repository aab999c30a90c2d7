"""Chains of equal products whose number is their latency: the same model twice, and models slower by a known share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SLOWER: tuple[int, ...] = (3, 5, 10, 20)
"""Percent of layers that are added."""

LAYERS = 100
SHAPES: dict[str, tuple[int, int]] = {"0.5 ms": (40, 64), "5 ms": (64, 192), "50 ms": (192, 384)}
"""Rows and width of the products, by about how long the chain takes on one core of a server."""


def chain(rows: int, width: int, layers: int, path: Path) -> None:
    """Writes `layers` products of [rows, width] with orthogonal matrices, which neither grow nor shrink values."""
    rng = np.random.default_rng(0)
    weights, nodes = [], []
    for index in range(layers):
        matrix = np.linalg.qr(rng.standard_normal((width, width)))[0].astype(np.float32)
        weights.append(numpy_helper.from_array(matrix, f"w{index}"))
        nodes.append(helper.make_node("MatMul", [f"x{index}", f"w{index}"], [f"x{index + 1}"]))
    shape = [1, rows, width]
    inputs = [helper.make_tensor_value_info("x0", TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info(f"x{layers}", TensorProto.FLOAT, shape)]
    graph = helper.make_graph(nodes, "chain", inputs, outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def planted(size: str, folder: Path) -> dict[str, Path]:
    """The reference, the same again, and the slower ones, by name; they are written where they are not there yet."""
    rows, width = SHAPES[size]
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, more in (("reference", 0), ("same", 0), *((f"{percent} % slower", percent) for percent in SLOWER)):
        path = folder / f"{name.replace(' % ', '_')}.onnx"
        if not path.exists():
            chain(rows, width, LAYERS + LAYERS * more // 100, path)
        found[name] = path
    return found
