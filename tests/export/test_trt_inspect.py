"""The engine inspector's JSON: precisions and mismatches."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from secateur.core.errors import EngineError
from secateur.export.engine_info import Layer, count_precisions
from secateur.export.trt_inspect import (
    InspectedLayer,
    check_engine,
    check_layers,
    engine_layers,
    inspected_layer,
    network_layers,
    product_layers,
    reported_layers,
    summarise,
)


def _content(operations: str, inputs: str, outputs: str, kind: str = "CaskConvolution") -> dict[str, Any]:
    return {
        "Name": operations.split()[0],
        "LayerType": kind,
        "Inputs": [{"Name": "i", "Format/Datatype": inputs}],
        "Outputs": [{"Name": "o", "Format/Datatype": outputs}],
        "Metadata": "\x1e".join(f"[ONNX Layer: {name}]" for name in operations.split()),
    }


def _layer(*words: str) -> InspectedLayer:
    return inspected_layer(_content(*words))


def test_a_layer_is_read_from_its_object() -> None:
    assert _layer("conv relu", "Half", "Float") == InspectedLayer(
        "conv", "CaskConvolution", ("conv", "relu"), ("fp16", "fp32"), ("fp16",)
    )
    named = inspected_layer({**_content("conv", "Half", "Half"), "TacticName": "sm80_xmma_gemm_f16f16_f16f32_f32_tn_n"})
    assert named.tactic == "sm80_xmma_gemm_f16f16_f16f32_f32_tn_n"
    assert inspected_layer({"Name": "conv"}) == InspectedLayer("conv", "", ("conv",), ())


@pytest.mark.parametrize(
    ("word", "precision"),
    [
        ("Row major linear FP32", "fp32"),
        ("Float", "fp32"),
        ("Half", "fp16"),
        ("Channel major FP16 format where channel % 8 == 0", "fp16"),
        ("BFloat16", "bf16"),
        ("Row major linear BF16", "bf16"),
        ("Thirty-two wide channel vectorized row major Int8 format", "int8"),
        ("FP8", "fp8"),
        ("Int64", "unknown"),
    ],
)
def test_words_of_the_inspector(word: str, precision: str) -> None:
    assert summarise([_layer("conv", word, word)]) == (Layer("conv", "CaskConvolution", precision),)


def test_a_layer_is_what_its_narrowest_tensor_is() -> None:
    layers = summarise(
        [_layer("conv", "Int8", "Half"), _layer("reformat", "Float", "Half"), _layer("x", "Int64", "Int64")]
    )
    assert [layer.precision for layer in layers] == ["int8", "fp16", "unknown"]
    assert count_precisions(layers) == {"int8": 1, "fp16": 1}


def test_one_operation_in_another_precision_is_an_error() -> None:
    check_engine([_layer("conv", "Half", "Half")], {"conv": "fp16"}, "T")
    check_engine([_layer("conv", "Float", "Half")], {"conv": "fp16"}, "T")
    check_engine([_layer("other", "Float", "Float")], {"conv": "fp16"}, "T")
    with pytest.raises(EngineError, match="T runs conv in fp32, but the ONNX graph declares fp16"):
        check_engine([_layer("conv", "Float", "Float")], {"conv": "fp16"}, "T")
    with pytest.raises(EngineError, match="T runs conv in fp16, but the ONNX graph declares fp32"):
        check_engine([_layer("conv", "Half", "Half")], {"conv": "fp32"}, "T")


def test_fused_layers_are_judged_together() -> None:
    declared = {"a": "bf16", "b": "bf16"}
    one = _layer("a x", "Float", "Float", "Myelin")
    check_engine([one], declared, "T")  # bf16 may be inside
    check_engine([one, _layer("b y", "Float", "BFloat16", "Myelin")], declared, "T")
    check_engine([_layer("a b", "Float", "Float")], {"a": "bf16", "b": "fp32"}, "T")
    with pytest.raises(EngineError, match="all 2 layers of products in fp32, but the ONNX graph declares bf16"):
        check_engine([one, _layer("b y", "Float", "Float", "Myelin")], declared, "T")


def test_networks_are_checked_product_by_product() -> None:
    declared = {"a": "fp16", "q": "int8"}
    check_layers([Layer("a", "MATRIX_MULTIPLY", "fp16"), Layer("q", "CONVOLUTION", "int8")], declared, "T")
    check_layers([Layer("a", "CAST", "fp32"), Layer("b", "CONVOLUTION", "fp32")], declared, "T")
    with pytest.raises(EngineError, match="T reads a as fp32, but the ONNX graph declares fp16"):
        check_layers([Layer("a", "MATRIX_MULTIPLY", "fp32")], declared, "T")
    with pytest.raises(EngineError, match="T reads q as fp32, but the ONNX graph declares int8"):
        check_layers([Layer("q", "CONVOLUTION", "fp32")], declared, "T")


def test_products_between_pairs_run_in_eight_bits() -> None:
    def tensor(name: str, kind: str) -> SimpleNamespace:
        return SimpleNamespace(name=name, dtype=SimpleNamespace(name=kind))

    def layer(name: str, kind: str, inputs: list[SimpleNamespace], output: SimpleNamespace) -> SimpleNamespace:
        return SimpleNamespace(
            name=name,
            type=SimpleNamespace(name=kind),
            num_inputs=len(inputs),
            num_outputs=1,
            get_input=inputs.__getitem__,
            get_output=[output].__getitem__,
        )

    x, weight, turned = tensor("x", "FLOAT"), tensor("w", "FLOAT"), tensor("t", "FLOAT")
    layers = [
        layer("dx", "DEQUANTIZE", [tensor("qx", "INT8")], x),
        layer("dw", "DEQUANTIZE", [tensor("qw", "INT8")], weight),
        layer("turn", "SHUFFLE", [weight], turned),
        layer("q", "MATRIX_MULTIPLY", [x, turned], tensor("y", "FLOAT")),
        layer("half", "MATRIX_MULTIPLY", [x, tensor("other", "FLOAT")], tensor("z", "FLOAT")),
    ]
    network = SimpleNamespace(num_layers=len(layers), get_layer=layers.__getitem__)
    found = {one.name: one.precision for one in network_layers(network)}
    assert found == {"dx": "fp32", "dw": "fp32", "turn": "fp32", "q": "int8", "half": "fp32"}


def _engine(text: str) -> tuple[Any, Any]:
    inspector = SimpleNamespace(get_engine_information=lambda form: text)
    trt = SimpleNamespace(LayerInformationFormat=SimpleNamespace(JSON=0))
    return trt, SimpleNamespace(create_engine_inspector=lambda: inspector)


def test_engines_without_details_are_refused() -> None:
    content = json.dumps({"Layers": [_content("conv", "Half", "Half")], "Bindings": []})
    assert engine_layers(*_engine(content)) == (_layer("conv", "Half", "Half"),)
    for text, words in (
        ("nothing", "gave no list"),
        ("{}", "gave no list"),
        ('{"Layers": ["conv"]}', "names of its layers only"),
    ):
        with pytest.raises(EngineError, match=words):
            engine_layers(*_engine(text))


REPORT = """Layers:
Name: __mye1_0_myl0_0, LayerType: shape_call, Inputs: [], Constants: [], Outputs: [], TacticName: , Metadata: \x20
Name: a_myl0_1, LayerType: gemm, Inputs: [ { Name: q, Dimensions: [-1,64], Datatype: Int8, Format: (Linear) }], \
Constants: [ { Name: w, Dimensions: [64,192], Datatype: Half }], Outputs: [ { Name: o, Datatype: Half }], \
TacticName: __myelin_CASK_STUB, StreamId: 0, Metadata: [ONNX Layer: a][ONNX Layer: x.dequantize]
Name: _gemm_mha_v2_myl0_2, LayerType: kgen, Inputs: [ { Name: o, Datatype: BFloat16 }], Constants: [], \
Outputs: [ { Name: p, Datatype: Float }], TacticName: t, StreamId: 0, Metadata: [ONNX Layer: b][ONNX Layer: c]
"""


def test_what_ends_a_product_in_a_layer_of_its_own_may_be_wider() -> None:
    product = InspectedLayer("a_myl0_1", "correlation", ("a", "x.dequantize"), ("fp8", "fp32"), ("fp8",))
    ending = InspectedLayer("__myl_MulCastAdd_myl0_2", "kgen", ("a",), ("fp32", "fp16"), ("fp32",))
    check_engine([product, ending], {"a": "fp8"}, "TensorRT-RTX")
    with pytest.raises(EngineError, match="runs __myl_MulCastAdd_myl0_2 in fp16, fp32, but the ONNX graph declares"):
        check_engine([ending], {"a": "fp8"}, "TensorRT-RTX")


def test_layers_are_read_from_the_builders_report() -> None:
    empty, product, attention = reported_layers(REPORT)
    assert empty == InspectedLayer("__mye1_0_myl0_0", "shape_call", ("__mye1_0_myl0_0",), ())
    types, tactic = ("int8", "fp16"), "__myelin_CASK_STUB"
    assert product == InspectedLayer("a_myl0_1", "gemm", ("a", "x.dequantize"), types, ("int8",), tactic)
    assert (attention.operations, attention.precisions) == (("b", "c"), ("bf16", "fp32"))
    assert [layer.attends for layer in (empty, product, attention)] == [False, False, True]
    assert reported_layers("") == ()


def test_a_product_that_reads_wider_tensors_than_declared_is_named() -> None:
    product = InspectedLayer("a_myl0", "gemm", ("a", "x.dequantize"), ("fp16", "int8"), ("fp16",))
    with pytest.raises(EngineError, match="runs a in fp16, but the ONNX graph declares int8"):
        check_engine([product], {"a": "int8"}, "TensorRT-RTX")
    for declared in ({"a": "fp16"}, {"a": "fp32"}, {}):  # between casts to fp32, a product reads fp16 and sums in fp32
        check_engine([product], declared, "TensorRT-RTX")


@pytest.mark.parametrize(
    ("name", "kind", "multiplies"),
    [
        ("a", "CONVOLUTION", True),  # of a network
        ("a", "CaskConvolution", True),  # of an engine of TensorRT
        ("a", "CaskGemmMatrixMultiply", True),
        ("a", "gemm", True),  # of TensorRT-RTX
        ("a", "correlation", True),
        ("_gemm_mha_v2_myl0_2", "kgen", True),
        ("__myl_MeaSubMul", "kgen", False),
        ("convert", "Convert", False),
        ("a", "SOFTMAX", False),
        ("conv_relu", "PointWise", False),
    ],
)
def test_which_layers_multiply(name: str, kind: str, multiplies: bool) -> None:
    layer, other = Layer(name, kind, "fp16"), Layer("fc", "gemm", "fp32")
    assert product_layers([layer, other]) == ((layer, other) if multiplies else (other,))


def test_where_no_layer_is_told_to_multiply_all_that_compute_count() -> None:
    one, two = Layer("a", "ForeignNode", "fp16"), Layer("b", "shape_call", "")
    assert product_layers([one, two]) == (one,)
