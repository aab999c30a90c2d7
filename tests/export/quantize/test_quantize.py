"""A whole graph in 8 bits: right for its images, typed as asked, and nothing left behind where it is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from torch import Tensor, nn

from secateur.core.errors import EngineError, ExportError, SecateurError, UnsupportedError
from secateur.export.engines import build_engine
from secateur.export.graph_types import element_types, read_graph
from secateur.export.onnx_info import OnnxInfo
from secateur.export.ort_engine import session_layers
from secateur.export.parity import check_parity
from secateur.export.quantize.observe import Quarter
from secateur.export.quantize.quantize import Quantized, quantize_onnx
from secateur.export.quantize.spec import Quantization
from secateur.export.to_onnx import export_onnx
from tests.export.conftest import SHAPE, TwoOutputs, needs_ort
from tests.export.quantize.test_divergence import spoilt
from tests.export.quantize.test_placement import Residual

pytestmark = needs_ort
Batches = list[tuple[Tensor, Tensor]]
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)


def test_int8_says_how_it_was_made(int8: tuple[OnnxInfo, Quantized]) -> None:
    info, how = int8
    assert (info.precision, how.images, how.products, how.balanced) == ("int8", 16, 12, 4)
    assert set(how.errors) == {"minmax", "entropy", "percentile", "mse", f"{how.rule}, biases as they were"}
    assert how.errors[how.rule] == min(error for word, error in how.errors.items() if "," not in word) < 0.01
    assert (how.corrected == 8) == (how.errors[how.rule] <= how.errors[f"{how.rule}, biases as they were"])
    assert len(how.kept) == 2
    graph = onnx.load(str(info.path)).graph
    stored = {tensor.data_type for tensor in graph.initializer if tensor.name.endswith(".quantized")}
    assert stored == {onnx.TensorProto.INT8}
    assert not any(tensor.name == "val_13" for tensor in graph.initializer)  # the fp32 weights are gone
    assert [str(value) for value in (*info.inputs, *info.outputs)] == [
        "input float32 [batch, 3, 32, 32]",
        "logits float32 [batch, 10]",
    ]


def test_parity_on_images_and_a_planted_scale(
    transformer: nn.Module, fp32: Path, int8: tuple[OnnxInfo, Quantized], images: Batches, tmp_path: Path
) -> None:
    path = int8[0].path
    parity = check_parity(transformer, path, images=Quarter(images), reference=fp32)
    assert [difference.batch for difference in parity.differences] == [2, 2]
    assert 1e-4 < parity.worst.relative < 0.1
    assert all(difference.cosine > 0.999 and difference.agreement == 1 for difference in parity.differences)
    tensor = spoilt(path, tmp_path / "spoilt.onnx", "blocks.0.mlp.fc1", 1 / 30)
    words = rf"spoilt.onnx differs from PyTorch at batch 8.*the first product that differs is {tensor} \(cosine"
    with pytest.raises(ExportError, match=words):
        check_parity(transformer, tmp_path / "spoilt.onnx", images=images, reference=fp32)
    with pytest.raises(ExportError, match="is in int8, which is right for real images alone: give images"):
        check_parity(transformer, path)


def test_convolutions_run_in_int8_where_pairs_are_placed_for_onnx_runtime(images: Batches, tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = export_onnx(Residual().eval(), tmp_path / "model.onnx", input_shape=(3, 8, 8)).path
    few = [(batch[:, :, :8, :8], labels) for batch, labels in images]
    kinds, errors = [], []
    for runtime in ("tensorrt", "onnxruntime"):
        how = Quantization(rule="minmax", balance=0, correct=False, rest="fp32", ends=True, runtime=runtime)
        info, found = quantize_onnx(source, tmp_path / f"{runtime}.onnx", few, options=how)
        kinds.append(Counter(layer.kind for layer in session_layers(info.path, "cpu")))
        errors.append(found.errors["minmax"])
    assert kinds[0]["QLinearConv"] == 0
    assert kinds[1]["QLinearConv"] >= 2
    zeros = {int(one) for one in _constants(tmp_path / "onnxruntime.onnx", ".zero")}
    assert zeros == {0, -128}  # what a ReLU gives has no sign
    assert {int(one) for one in _constants(tmp_path / "tensorrt.onnx", ".zero")} == {0}
    assert errors[1] < 2 * errors[0] < 0.01
    with pytest.raises(EngineError, match="zeros that are not stored as 0, which tensorrt_rtx:sm_86 does not take"):
        build_engine(tmp_path / "onnxruntime.onnx", "tensorrt_rtx:sm_86", tmp_path)


def _constants(path: Path, ending: str) -> list[Any]:
    tensors = read_graph(path).graph.initializer
    return [
        value for one in tensors if one.name.endswith(ending) for value in np.unique(onnx.numpy_helper.to_array(one))
    ]


@pytest.mark.parametrize(
    ("rest", "element"), [("fp16", "FLOAT16"), ("target", "FLOAT16"), ("bf16", "BFLOAT16"), ("fp32", "FLOAT")]
)
def test_what_is_not_in_eight_bits_has_the_type_that_is_asked(
    rest: Literal["fp16", "target", "bf16", "fp32"], element: str, images: Batches, tmp_path: Path
) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 16), nn.GELU(), nn.Linear(16, 5))
    few = [(batch[:, :, :4, :4], labels) for batch, labels in images]
    source = export_onnx(model, tmp_path / "model.onnx", input_shape=(3, 4, 4)).path
    how = Quantization(rule="minmax", balance=0, correct=False, rest=rest)
    info, _ = quantize_onnx(source, tmp_path / "model.int8.onnx", few, options=how)
    types = element_types(read_graph(info.path))
    nodes = read_graph(info.path).graph.node
    made = {types[node.output[0]] for node in nodes if types[node.output[0]] in FLOATS}
    assert made == {TensorProto.DataType.Value(element), TensorProto.FLOAT}  # the output stays float32
    scales = {types[node.input[1]] for node in nodes if node.op_type in ("QuantizeLinear", "DequantizeLinear")}
    assert scales == {TensorProto.DataType.Value(element)}
    assert (info.precision, info.images) == ("int8", 0 if rest == "fp32" else 16)
    assert check_parity(model, info.path, images=few).widened == (rest == "bf16")


def test_fp8_of_several_outputs(tmp_path: Path) -> None:
    model = TwoOutputs()
    model.cnn.stem, model.cnn.norm = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 1)
    model.cnn.depthwise, model.cnn.head = nn.Conv2d(16, 16, 3, padding=1), nn.Linear(16, 4)
    source = export_onnx(model.eval(), tmp_path / "model.onnx", input_shape=(3, 8, 8)).path
    images = [(torch.randn(8, 3, 8, 8), None)]
    info, how = quantize_onnx(source, tmp_path / "model.fp8.onnx", images, "fp8", Quantization(rule="mse"))
    assert (info.precision, how.rule, how.products, how.balanced) == ("fp8", "mse", 2, 0)
    check_parity(model, info.path, images=images)


def test_a_clip_before_a_pair_of_fp8(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU6(), nn.Conv2d(16, 16, 3), nn.Flatten(), nn.Linear(256, 4)).eval()
    source = export_onnx(model, tmp_path / "model.onnx", input_shape=(3, 8, 8)).path
    images = [(torch.randn(8, 3, 8, 8), None)]
    info, _ = quantize_onnx(source, tmp_path / "model.fp8.onnx", images, "fp8", Quantization(rule="minmax"))
    check_parity(model, info.path, images=images, reference=source)
    with pytest.raises(UnsupportedError, match="ONNX Runtime on cpu has no fp8 kernels"):
        build_engine(info.path, "onnxruntime:cpu", tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"calibration": []}, "no calibration images were given"),
        ({"calibration": [(torch.full((8, *SHAPE), -2.0), torch.zeros(8))]}, "as if all were black"),
        ({"precision": "int4"}, "the precision 'int4' is not one of int8, fp8"),
        ({"precision": "fp8", "options": Quantization(rule="entropy")}, "'entropy' is about the levels of int8"),
        ({"options": Quantization(keep=("nothing",))}, "export.quantize.keep has 'nothing'"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(
    fp32: Path, images: Batches, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    (tmp_path / "old.onnx").write_bytes(b"old")
    with pytest.raises(SecateurError, match=words) as caught:
        quantize_onnx(**{"source": fp32, "path": tmp_path / "old.onnx", "calibration": images, **change})
    assert caught.value.exit_code == 2
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("old.onnx", b"old")]


def test_graphs_that_are_quantised_or_narrow_already(
    int8: tuple[OnnxInfo, Quantized], onnx_files: dict[str, Path], images: Batches, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match="quantised already"):
        quantize_onnx(int8[0].path, tmp_path / "again.onnx", images)
    with pytest.raises(ExportError, match=r"model.fp16.onnx is typed in fp16, but 8 bits start from an fp32 graph"):
        quantize_onnx(onnx_files["fp16"], tmp_path / "again.onnx", images)
    assert not list(tmp_path.iterdir())


def test_an_activation_that_is_always_zero(tmp_path: Path) -> None:
    class Dead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.last = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.second((self.first(x) - 1e4).relu()) + x)

    source = export_onnx(Dead().eval(), tmp_path / "model.onnx", input_shape=(16,)).path
    info, how = quantize_onnx(source, tmp_path / "model.int8.onnx", [(torch.randn(8, 16), None)])
    assert how.products == 1
    assert np.isfinite(list(how.errors.values())).all()
    assert info.precision == "int8"
