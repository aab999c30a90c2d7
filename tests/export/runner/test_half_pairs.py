"""Graphs with pairs of Q/DQ in half precision compute on ONNX Runtime's processor what they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from secateur.export.ort_engine import open_session
from secateur.export.parity import runnable
from secateur.export.runner.half_pairs import session_options
from secateur.export.runner.runtimes import open_model
from tests.export.conftest import needs_ort

IMAGE = np.random.default_rng(0).standard_normal((1, 4, 5, 5))
WEIGHT = np.random.default_rng(1).integers(-100, 100, (4, 4, 1, 1)).astype(np.int8)
BIAS = np.array([0.5, -0.25, 2.0, 1.0])
SCALE = 2.0**-6


def quantised(folder: Path, kind: type[np.floating]) -> Path:
    """A convolution of values, a weight and results that are in 8 bits by pairs in a type, with a bias in that type."""
    code = TensorProto.FLOAT16 if kind is np.float16 else TensorProto.FLOAT
    weights = [
        numpy_helper.from_array(np.array(SCALE, kind), "scale"),
        numpy_helper.from_array(np.array(0, np.int8), "zero"),
        numpy_helper.from_array(WEIGHT, "weight"),
        numpy_helper.from_array(BIAS.astype(kind), "bias"),
    ]
    pair = ["scale", "zero"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *pair], ["x8"]),
        helper.make_node("DequantizeLinear", ["x8", *pair], ["x_"]),
        helper.make_node("DequantizeLinear", ["weight", *pair], ["w_"]),
        helper.make_node("Conv", ["x_", "w_", "bias"], ["y"]),
        helper.make_node("QuantizeLinear", ["y", *pair], ["y8"]),
        helper.make_node("DequantizeLinear", ["y8", *pair], ["out"]),
    ]
    takes, gives = (helper.make_tensor_value_info(name, code, [1, 4, 5, 5]) for name in ("x", "out"))
    graph = helper.make_graph(nodes, "net", [takes], [gives], weights)
    path = folder / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9), path)
    return path


def expected(kind: type[np.floating]) -> NDArray[np.float64]:
    """The same by the definitions."""
    image = np.clip(np.round(IMAGE.astype(kind).astype(np.float64) / SCALE), -128, 127) * SCALE
    result = np.einsum("oi,nihw->nohw", WEIGHT[:, :, 0, 0] * SCALE, image) + BIAS[:, None, None]
    return np.asarray(np.clip(np.round(result / SCALE), -128, 127) * SCALE)


def by_engine(path: Path, image: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.asarray(open_session(path, "cpu").run(None, {"x": image})[0])


def by_parity(path: Path, image: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.asarray(runnable(path).run(None, {"x": image})[0])


def by_runner(path: Path, image: NDArray[np.floating]) -> NDArray[np.floating]:
    with open_model(path, "onnxruntime:cpu", 1) as model:
        return np.asarray(model.run({"x": image})["out"])


@needs_ort
@pytest.mark.parametrize("kind", [np.float16, np.float32])
@pytest.mark.parametrize("way", [by_engine, by_parity, by_runner])
def test_every_session_computes_what_the_graph_says(
    tmp_path: Path, way: Callable[[Path, NDArray[np.floating]], NDArray[np.floating]], kind: type[np.floating]
) -> None:
    assert np.abs(way(quantised(tmp_path, kind), IMAGE.astype(kind)) - expected(kind)).max() <= SCALE  # of one step


def test_only_graphs_with_pairs_in_half_precision_are_opened_otherwise(tmp_path: Path) -> None:
    assert session_options(quantised(tmp_path, np.float16)) == {"disabled_optimizers": ["WeightBiasQuantization"]}
    assert session_options(quantised(tmp_path, np.float32)) == {}


def test_a_pair_without_a_scale_is_left_to_the_runtime(tmp_path: Path) -> None:
    path = quantised(tmp_path, np.float16)
    model = onnx.load(path)
    for node in model.graph.node:
        del node.input[1:]
    onnx.save(model, path)
    assert session_options(path) == {}
