"""What is put right in a graph, on graphs that are written down."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from secateur.core.errors import ExportError
from secateur.export.graph_tidy import adopt_constants, follow_batch, plain_einsums, tidy


def program(text: str) -> ir.Model:
    """The model in ONNX's text format."""
    import onnx

    return ir.from_proto(onnx.parser.parse_model(text))


HEADER = '<ir_version: 10, opset_import: ["" : 20]>'


def test_the_dynamic_dimension_is_called_batch_everywhere() -> None:
    model = program(HEADER + "g (float[s77, 4] x) => (float[s77, 4] y) { y = Relu(x) }")
    node = model.graph.node(0)
    for value in (model.graph.inputs[0], node.outputs[0]):
        value.shape = ir.Shape(["s77", 4])  # those of a parsed model are frozen, and an exporter's are not
    inner = ir.val("inner", ir.DataType.FLOAT, ir.Shape(["2*s77", "s770"]))
    model.graph.append(ir.Node("", "Abs", [node.outputs[0]], outputs=[inner]))
    follow_batch(model, "model.onnx")
    assert [str(value.shape) for value in (*model.graph.inputs, *model.graph.outputs)] == ["[batch,4]", "[batch,4]"]
    assert str(inner.shape) == "[2*batch,s770]"  # another symbol that begins alike


@pytest.mark.parametrize(
    ("equation", "small"),
    [("B G I, B G J -> B I J", "abc,abd->acd"), ("bZ, Za", "ca,ab"), ("... K, K m", "...a,ab")],
)
def test_einsums_have_small_letters_that_keep_their_order(equation: str, small: str) -> None:
    model = program(
        HEADER + f'g (float[2] x, float[2] y) => (float[2] z) {{ z = Einsum <equation = "{equation}"> (x, y) }}'
    )
    plain_einsums(model)
    assert model.graph.node(0).attributes["equation"].as_string() == small


def test_inputs_that_never_meet_have_one_batch() -> None:
    texts = "g (float[s1, 4] one, float[s2, 4] two) => (float[s2, s1] y) { t = Transpose (one) y = MatMul(two, t) }"
    model = program(HEADER + texts)
    for value in (*model.graph.inputs, *model.graph.outputs):
        value.shape = ir.Shape([getattr(size, "value", size) for size in value.shape or ()])
    follow_batch(model, "model.onnx", (True, True))
    shapes = [str(value.shape) for value in (*model.graph.inputs, *model.graph.outputs)]
    assert shapes == ["[batch,4]", "[batch,4]", "[batch,batch]"]


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (
            "float[2, 4] y",
            r"'y' has the shape \[2,4\], which does not follow the batch .* so model.onnx was not written",
        ),
        ("float[other, 4] y", r"'y' has the shape \[other,4\]"),
        ("float[] y", "'y' has no dimensions"),
    ],
)
def test_an_output_of_another_first_dimension_is_refused(output: str, words: str) -> None:
    with pytest.raises(ExportError, match=words):
        follow_batch(program(HEADER + f"g (float[n, 4] x) => ({output}) {{ y = Relu(x) }}"), "model.onnx")


def constant(name: str, number: float) -> ir.Value:
    """A constant that no node makes, outside of any graph."""
    tensor = ir.tensor(np.float32(number), name=name)
    return ir.Value(name=name, const_value=tensor, shape=tensor.shape, type=ir.TensorType(tensor.dtype))


def test_constants_outside_of_the_graph_become_weights_under_names_of_their_own() -> None:
    """As the exporter leaves the bounds of several clamps of one value: all are named alike."""
    model = program(HEADER + "g (float[n] x) => (float[n] y) { a = Clip(x)  y = Clip(x) }")
    bounds = [constant("low", -1.0), constant("low", -2.0)]
    for node, bound in zip(list(model.graph), bounds, strict=True):
        node.resize_inputs(2)
        node.replace_input_with(1, bound)
    model.graph.register_initializer(bounds[1])
    adopt_constants(model)
    assert {name: float(v.const_value.numpy()) for name, v in model.graph.initializers.items()} == {
        "low": -2.0, "low.0": -1.0
    }  # fmt: skip
    assert [node.inputs[1].name for node in model.graph] == ["low.0", "low"]
    adopt_constants(model)  # a second time changes nothing
    assert set(model.graph.initializers) == {"low", "low.0"}


def test_the_exporters_notes_go_and_ours_come() -> None:
    model = program(HEADER + "g (float[n, 3] x) => (float[n, 3] y) { y = Add(x, w) }")
    weight = ir.tensor(np.ones(3, np.float32), name="model.head.bias")
    value = ir.Value(name="model.head.bias", const_value=weight, shape=weight.shape, type=ir.TensorType(weight.dtype))
    node = model.graph.node(0)
    node.replace_input_with(1, value)
    model.graph.register_initializer(value)
    node.metadata_props.update(
        {
            "pkg.torch.onnx.name_scopes": "['', 'model', 'model.head', 'add_3']",
            "pkg.torch.onnx.stack_trace": "/home/somebody/model.py",
        }
    )
    model.graph.metadata_props["path"] = value.metadata_props["path"] = "/home/somebody"
    model.metadata_props["path"] = "/home/somebody"
    tidy(model, {"precision": "fp32"})
    assert dict(node.metadata_props) == {"module": "head"}
    assert list(model.graph.initializers) == ["head.bias"]
    assert (dict(model.graph.metadata_props), dict(value.metadata_props)) == ({}, {})
    assert model.metadata_props["secateur.precision"] == "fp32"
    assert set(model.metadata_props) == {"secateur.precision", "secateur.torch", "secateur.version"}
    assert model.graph.name == "secateur"


@pytest.mark.parametrize("scopes", ["['', 'add']", "['add']", "['', 'model', 'relu']"])
def test_an_operation_of_the_model_itself_has_no_module(scopes: str) -> None:
    model = program(HEADER + "g (float[n] x) => (float[n] y) { y = Relu(x) }")
    model.graph.node(0).metadata_props["pkg.torch.onnx.name_scopes"] = scopes
    tidy(model, {})
    assert "module" not in model.graph.node(0).metadata_props
