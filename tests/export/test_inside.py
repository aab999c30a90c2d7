"""Preprocessing inside the graph: pixels give what their normalised values gave."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_sample_images

from secateur.core.errors import ExportError
from secateur.export import graph_file, inside
from secateur.export.engines import open_engine
from secateur.export.graph_types import graph_tensors, read_graph
from secateur.export.inside import TOLERANCES, embed, put_inside, take_planar
from secateur.export.onnx_info import OnnxInfo
from secateur.export.parity import noted_inputs, runnable
from secateur.export.preprocessing import Preprocessing
from secateur.export.quantize.quantize import Quantized
from tests.export.conftest import needs_ort

pytestmark = needs_ort
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def pictures(batch: int, height: int, width: int) -> NDArray[np.uint8]:
    """Crops of two photographs."""
    photographs = _photographs()
    places = ((index % 2, 13 * index, 31 * index) for index in range(batch))
    return np.stack([photographs[one][top : top + height, left : left + width] for one, top, left in places])


@cache
def _photographs() -> list[NDArray[np.uint8]]:
    return list(load_sample_images().images)


def convolution(weight: NDArray[Any], bias: NDArray[Any] | None, size: tuple[int, int], **how: Any) -> onnx.ModelProto:
    """A graph of one convolution, with the sizes of the input fixed and the batch free."""
    takes = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, *size])
    gives = helper.make_tensor_value_info("output", TensorProto.FLOAT, None)
    constants = [numpy_helper.from_array(weight, "weight")]
    constants += [] if bias is None else [numpy_helper.from_array(bias, "bias")]
    node = helper.make_node("Conv", ["input", *(one.name for one in constants)], ["output"], "conv", **how)
    graph = helper.make_graph([node], "one", [takes], [gives], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model: onnx.ModelProto, array: NDArray[Any]) -> NDArray[Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"input": array})
    return np.asarray(found)


def operations(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(5, 9),
    width=st.integers(5, 9),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    pads=st.lists(st.integers(0, 2), min_size=4, max_size=4),
    strides=st.lists(st.integers(1, 3), min_size=2, max_size=2),
    groups=st.sampled_from([1, 3]),
    filters=st.integers(1, 3),
    biased=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_convolution_takes_the_normalisation_in(
    height: int,
    width: int,
    kernel: tuple[int, int],
    pads: list[int],
    strides: list[int],
    groups: int,
    filters: int,
    biased: bool,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((3 * filters, 3 // groups, *kernel), dtype=np.float32)
    bias = rng.standard_normal(3 * filters, dtype=np.float32) if biased else None
    model = convolution(weight, bias, (height, width), pads=pads, strides=strides, group=groups)
    rule, pixels = Preprocessing((3, height, width), MEAN, STD), pictures(2, height, width)
    program = ir.from_proto(model)
    way = embed(program, rule)
    made = ir.to_proto(program)
    assert (way, operations(made)) == (
        ("centred", ["Cast", "Transpose", "Sub", "Conv"]) if any(pads) else ("folded", ["Cast", "Transpose", "Conv"])
    )
    wanted = run(model, rule.normalised(pixels))
    np.testing.assert_allclose(run(made, pixels), wanted, atol=2e-5 * max(1.0, float(np.abs(wanted).max())))


@pytest.mark.parametrize(("auto_pad", "way"), [("SAME_UPPER", "centred"), ("VALID", "folded")])
def test_padding_by_a_word_is_padding(auto_pad: str, way: str) -> None:
    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3), dtype=np.float32)
    model = convolution(weight, None, (6, 6), auto_pad=auto_pad)
    rule, pixels = Preprocessing((3, 6, 6), MEAN, STD), pictures(1, 6, 6)
    program = ir.from_proto(model)
    assert embed(program, rule) == way
    np.testing.assert_allclose(run(ir.to_proto(program), pixels), run(model, rule.normalised(pixels)), atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_patches_in_every_precision(onnx_files: dict[str, Path], precision: str, tmp_path: Path) -> None:
    same(onnx_files[precision], tmp_path / "in.onnx", "folded" if precision == "fp32" else "kept", precision)


def test_a_stem_with_padding(cnn_onnx: Path, tmp_path: Path) -> None:
    same(cnn_onnx, tmp_path / "in.onnx", "centred", "fp32")


def test_eight_bits(int8: tuple[OnnxInfo, Quantized], tmp_path: Path) -> None:
    same(int8[0].path, tmp_path / "in.onnx", "kept", "int8")


def same(source: Path, path: Path, way: str, precision: str) -> None:
    """Compares both graphs on photographs, in two batches, and what is noted."""
    (takes,), _ = graph_tensors(read_graph(source))
    _, *size = takes.shape[1:]
    rule = Preprocessing((3, *size), MEAN, STD)
    assert put_inside(source, path, rule) == (way, "")
    content = read_graph(path)
    assert str(graph_tensors(content)[0][0]) == f"input uint8 [batch, {size[0]}, {size[1]}, 3]"
    noted = Preprocessing.from_note({entry.key: entry.value for entry in content.metadata_props}, "the graph")
    assert noted is not None and noted.inside and noted.mean == MEAN
    drawn = noted_inputs(content)
    assert drawn is not None and drawn.draw(2).shape == (2, *size, 3)
    for batch in (1, 3):
        pixels = pictures(batch, *size)
        wanted, found = (
            runnable(place).run(None, {"input": array})[0]
            for place, array in ((source, rule.normalised(pixels)), (path, pixels))
        )
        assert np.abs(found - wanted).max() <= TOLERANCES[precision] * np.abs(wanted).max()


def quantised_stem() -> onnx.ModelProto:
    """A convolution that reads a Q/DQ pair of the input."""
    model = convolution(np.random.default_rng(0).standard_normal((4, 3, 2, 2), dtype=np.float32), None, (6, 6))
    scale, zero = numpy_helper.from_array(np.float32(0.02), "scale"), numpy_helper.from_array(np.int8(0), "zero")
    model.graph.initializer.extend([scale, zero])
    model.graph.node[0].input[0] = "up"
    down = helper.make_node("QuantizeLinear", ["input", "scale", "zero"], ["down"], "down")
    up = helper.make_node("DequantizeLinear", ["down", "scale", "zero"], ["up"], "up")
    nodes = [down, up, model.graph.node[0]]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def reshaped_patches() -> onnx.ModelProto:
    """What reads the input's batch, and its values by no convolution."""
    model = convolution(np.zeros((1, 3, 1, 1), np.float32), None, (4, 4))
    del model.graph.node[:]
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1]), "rest"))
    model.graph.node.extend(
        [
            helper.make_node("Shape", ["input"], ["batch"], "shape", end=1),
            helper.make_node("Concat", ["batch", "rest"], ["sizes"], "concat", axis=0),
            helper.make_node("Reshape", ["input", "sizes"], ["output"], "reshape"),
        ]
    )
    return model


def sized_stem() -> onnx.ModelProto:
    """A convolution beside what reads the sizes of the input."""
    model = convolution(np.random.default_rng(0).standard_normal((3, 3, 2, 2), dtype=np.float32), None, (6, 6))
    model.graph.node[0].output[0] = "maps"
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1]), "rest"))
    model.graph.node.extend(
        [
            helper.make_node("Shape", ["input"], ["batch"], "shape", end=2),
            helper.make_node("Concat", ["batch", "rest"], ["sizes"], "concat", axis=0),
            helper.make_node("Reshape", ["maps", "sizes"], ["output"], "reshape"),
        ]
    )
    return model


@pytest.mark.parametrize(
    ("model", "way"), [(quantised_stem(), "kept"), (reshaped_patches(), "kept"), (sized_stem(), "folded")]
)
def test_what_else_reads_the_input_reads_the_same(model: onnx.ModelProto, way: str) -> None:
    (takes,), _ = graph_tensors(model)
    _, height, width = takes.shape[1:]
    rule, pixels = Preprocessing((3, height, width), MEAN, STD), pictures(2, height, width)
    program = ir.from_proto(model)
    assert embed(program, rule) == way
    np.testing.assert_allclose(run(ir.to_proto(program), pixels), run(model, rule.normalised(pixels)), atol=1e-4)


def test_weights_in_a_file_of_their_own(
    onnx_files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_file, "EMBED_LIMIT_BYTES", 1000)
    rule = Preprocessing((3, 32, 32), MEAN, STD)
    outside = tmp_path / "out" / "model.onnx"
    graph_file.write_graph(ir.load(onnx_files["fp32"]), outside)
    way, data = put_inside(outside, tmp_path / "model.onnx", rule)
    assert way == "folded" and (tmp_path / data).stat().st_size > 1000
    with open_engine(tmp_path / "model.onnx", "onnxruntime:cpu") as engine:
        assert engine.infer({"input": pictures(2, 32, 32)})["logits"].shape == (2, 10)


def test_a_graph_that_gives_something_else_is_refused(
    cnn_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold = inside._fold
    monkeypatch.setattr(inside, "_fold", lambda node, scale, mean: fold(node, scale[::-1], mean))
    with pytest.raises(ExportError, match=r"^with its preprocessing inside, in.onnx gives another 'logits' \(off by"):
        put_inside(cnn_onnx, tmp_path / "in.onnx", Preprocessing((3, 8, 8), MEAN, STD))


def test_planar_pixels_are_for_graphs_that_turn_them(cnn_onnx: Path) -> None:
    with pytest.raises(ExportError, match="input is not cast and transposed before all else"):
        take_planar(ir.load(cnn_onnx))


def test_other_inputs_are_refused(cnn_onnx: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"takes input float32 \[batch, 3, 8, 8\].*\[1, 8, 8\] alone: set export.pre"):
        put_inside(cnn_onnx, tmp_path / "in.onnx", Preprocessing((1, 8, 8), (0.5,), (0.5,)))
    put_inside(cnn_onnx, tmp_path / "in.onnx", Preprocessing((3, 8, 8), MEAN, STD))
    with pytest.raises(ExportError, match=r"takes input uint8"):
        put_inside(tmp_path / "in.onnx", tmp_path / "twice.onnx", Preprocessing((3, 8, 8), MEAN, STD))
