"""Engines that TensorRT-RTX really builds here, without a GPU."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
from onnx import TensorProto, helper

from secateur.core.errors import EngineError
from secateur.export import trt_build as module
from secateur.export.engine_info import Profile
from secateur.export.engines import build_engine
from secateur.export.graph_types import declared_precisions, read_graph
from secateur.export.onnx_info import OnnxInfo
from secateur.export.quantize.quantize import Quantized
from secateur.export.trt_build import build_plan, supported_capabilities
from secateur.export.trt_inspect import check_engine
from secateur.export.trt_runtime import import_runtime
from tests.export.conftest import needs_rtx
from tests.export.fake_trt_builder import make_builder

pytestmark = needs_rtx


def test_the_gpus_of_ahead_of_time_builds() -> None:
    assert {"sm_75", "sm_80", "sm_86", "sm_89", "sm_120"} <= set(supported_capabilities(import_runtime("tensorrt_rtx")))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("device", ["sm_86", "sm_89", "sm_120"])
def test_engines_have_the_layers_and_the_precision_of_the_graph(
    onnx_files: dict[str, Path], tmp_path: Path, device: str, precision: str
) -> None:
    path = onnx_files[precision]
    info = build_engine(path, f"tensorrt_rtx:{device}", tmp_path, profile=Profile(1, 4, 16))
    assert (info.precision, info.compute_capabilities, info.inspected) == (precision, (device,), "builder")
    assert {layer.precision for layer in info.layers if layer.kind in ("gemm", "correlation")} == {precision}
    assert next(iter(info.precisions)) == precision  # of most layers
    assert info.precisions.keys() <= {precision, "fp32"}  # the sums of a norm may cross from layer to layer
    assert [str(tensor) for tensor in (*info.inputs, *info.outputs)] == [
        "input float32 [batch, 3, 32, 32]",
        "logits float32 [batch, 10]",
    ]
    if info.runtime_version.startswith("1.7."):  # its plans name the GPU by a bit after this mark
        plan = info.path.read_bytes()
        assert plan[plan.index(b"tvtrt") + 5] == {"sm_86": 4, "sm_89": 8, "sm_120": 16}[device]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_the_network_has_the_precision_of_the_graph(onnx_files: dict[str, Path], precision: str) -> None:
    path = onnx_files[precision]
    declared = declared_precisions(read_graph(path))
    layers = build_plan(import_runtime("tensorrt_rtx"), path, declared, capabilities=("sm_86",)).layers
    products = [layer for layer in layers if layer.kind in ("CONVOLUTION", "MATRIX_MULTIPLY")]
    assert {layer.name: layer.precision for layer in products} == declared
    assert {layer.precision for layer in layers if layer.kind in ("SOFTMAX", "NORMALIZATION")} == {precision}


def test_products_asked_in_int8_that_run_wider_are_named(
    onnx_files: dict[str, Path], int8: tuple[OnnxInfo, Quantized]
) -> None:
    """A planted fallback: the engine of the fp16 graph, for what the int8 graph declares."""
    trt, declared = import_runtime("tensorrt_rtx"), declared_precisions(read_graph(int8[0].path))
    found = build_plan(trt, int8[0].path, declared, capabilities=("sm_86",)).engine
    check_engine(found, declared, "TensorRT-RTX")
    products = {name for layer in found if "int8" in layer.reads for name in layer.operations if name in declared}
    assert products == {name for name, word in declared.items() if word == "int8"}
    assert sum(layer.attends for layer in found) == 2  # one a block
    wider = build_plan(trt, onnx_files["fp16"], {}, capabilities=("sm_86",)).engine
    with pytest.raises(EngineError, match=r"TensorRT-RTX runs node_\w+ in fp16, but the ONNX graph declares int8"):
        check_engine(wider, declared, "TensorRT-RTX")


def test_sixteen_bit_engines_are_smaller(onnx_files: dict[str, Path], tmp_path: Path) -> None:
    sizes = {name: build_engine(onnx_files[name], "tensorrt_rtx:sm_86", tmp_path).size_bytes for name in onnx_files}
    weights = {name: path.stat().st_size for name, path in onnx_files.items()}
    assert sizes["fp32"] - sizes["fp16"] > 0.8 * (weights["fp32"] - weights["fp16"])
    assert abs(sizes["fp16"] - sizes["bf16"]) < 1000


def test_convolutions_and_heads_of_different_sizes(cnn_onnx: Path, ragged_onnx: Path, tmp_path: Path) -> None:
    for name, path in (("cnn", cnn_onnx), ("ragged", ragged_onnx)):
        assert build_engine(path, "tensorrt_rtx:sm_86", tmp_path / name).precisions.keys() == {"fp32"}


def test_what_a_gpu_cannot_do_is_said_and_leaves_the_next_engine_alone(
    onnx_files: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = build_engine(onnx_files["fp32"], "tensorrt_rtx:sm_86", tmp_path)
    with pytest.raises(
        EngineError, match=r"cannot build model.fp32.onnx for sm_75: .*FP32 GEMM.*export the model in fp16"
    ):
        build_engine(onnx_files["fp32"], "tensorrt_rtx:sm_75", tmp_path)
    assert not (tmp_path / "tensorrt_rtx-sm_75").exists()
    again = build_engine(onnx_files["fp32"], "tensorrt_rtx:sm_86", tmp_path / "again")
    assert again.engine_sha256 == before.engine_sha256
    assert build_engine(onnx_files["fp16"], "tensorrt_rtx:sm_75", tmp_path).compute_capabilities == ("sm_75",)
    assert capfd.readouterr() == ("", "")


def test_turing_has_no_bf16(onnx_files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"this GPU has no bf16: export the model in fp16"):
        build_engine(onnx_files["bf16"], "tensorrt_rtx:sm_75", tmp_path)


def test_a_network_in_another_precision_than_declared_is_not_built(onnx_files: dict[str, Path]) -> None:
    trt = import_runtime("tensorrt_rtx")
    declared = dict.fromkeys(declared_precisions(read_graph(onnx_files["fp32"])), "fp16")
    with pytest.raises(EngineError, match=r"reads node_conv2d as fp32, but the ONNX graph declares fp16"):
        build_plan(trt, onnx_files["fp32"], declared, capabilities=("sm_86",))
    with pytest.raises(EngineError, match=r"does not build for sm_90 ahead of time: it builds for sm_75"):
        build_plan(trt, onnx_files["fp32"], {}, capabilities=("sm_90",))


def _save(path: Path, operation: str, shape: list[object], domain: str = "") -> Path:
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    graph = helper.make_graph(
        [helper.make_node(operation, ["x"], ["y"], "it", domain=domain)], "g", value[:1], value[1:]
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(path))
    return path


def test_operations_and_shapes_that_cannot_be_built(tmp_path: Path) -> None:
    unknown = _save(tmp_path / "unknown.onnx", "Prune", ["n", 4], "own")
    with pytest.raises(EngineError, match=r"cannot read unknown.onnx: .*Prune"):
        build_engine(unknown, "tensorrt_rtx:sm_86")
    sizes = _save(tmp_path / "sizes.onnx", "Relu", ["n", 3, "height"])
    with pytest.raises(EngineError, match=r"'x' of sizes.onnx has the shape \[-1, 3, -1\], but only its first"):
        build_engine(sizes, "tensorrt_rtx:sm_86")
    assert not (tmp_path / "engines").exists()
    fixed = _save(tmp_path / "fixed.onnx", "Relu", [2, 4])
    assert build_engine(fixed, "tensorrt_rtx:sm_86").inputs[0].shape == (2, 4)


@pytest.mark.parametrize("kind", ["ahead of time", "python"])
def test_the_kind_of_our_plugin_in_an_engine_is_known(
    kind: str, ragged_onnx: Path, onnx_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    trt, _ = make_builder()
    ragged_nodes = len(read_graph(ragged_onnx).graph.node)
    parsed: list[bytes] = []
    trt.INetworkDefinition = SimpleNamespace(add_plugin_v3=None)
    trt.OnnxParser = lambda network, logger: SimpleNamespace(  # type: ignore[attr-defined]
        parse_from_file=lambda path: True, parse=lambda content, path: not parsed.append(content)
    )
    monkeypatch.setattr(module, "register_plugin", lambda trt: kind)
    monkeypatch.setattr(module, "needs_plugin", lambda model: len(model.graph.node) == ragged_nodes)
    assert build_plan(trt, ragged_onnx, {}).plugin == kind
    assert not onnx.load_from_string(parsed.pop()).functions
    assert build_plan(trt, onnx_files["fp32"], {}).plugin == "" and not parsed
