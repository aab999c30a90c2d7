"""One layer alone is the same layer as a module and as a graph, with the widths that it is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from secateur.benchmarks.layers.alone import Alone, alone_of, alone_of_module
from secateur.export.targets import parse_typed_target
from tests.export.conftest import needs_ort

LAYERS = {
    "product": (nn.Linear(12, 10, bias=False), (7, 12)),
    "convolution": (nn.Conv2d(6, 9, 3, stride=2, padding=1, bias=False), (6, 9, 9)),
    "groups": (nn.Conv2d(6, 9, (3, 1), padding=(1, 0), dilation=2, groups=3, bias=False), (6, 9, 9)),
    "depthwise": (nn.Conv2d(6, 6, 3, groups=6, bias=False), (6, 9, 9)),
    "one dimension": (nn.Conv1d(6, 4, 5, padding=2, bias=False), (6, 20)),
}


@needs_ort
@pytest.mark.parametrize("name", list(LAYERS))
def test_module_and_graph_are_the_layer_itself(name: str, tmp_path: Path) -> None:
    """The graph computes what the module does, once its weight is the module's."""
    module, shape = LAYERS[name]
    found = alone_of_module(module, (2, *shape))
    assert found is not None
    program = ir.load(found.write(tmp_path / "a.onnx"))
    (node,) = program.graph
    assert alone_of(node, (2, *shape), found.weight) == found
    weight = module.weight.detach()  # type: ignore[union-attr]  # a module's attributes may be anything
    values = (weight.T if found.kind == "MatMul" else weight).numpy()  # type: ignore[operator]
    program.graph.initializers["weight"].const_value = ir.tensor(np.ascontiguousarray(values))
    ir.save(program, tmp_path / "b.onnx")
    from secateur.export.engines import open_engine

    example = torch.randn(2, *shape)
    with open_engine(tmp_path / "b.onnx", "onnxruntime:cpu") as engine:
        given = engine.infer({"input": example.numpy()})["output"]
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(np.array(given)), module(example), rtol=1e-4, atol=1e-4)
    twin = found.module()
    assert isinstance(twin, type(module))
    assert twin(example).shape == given.shape


def test_widened() -> None:
    assert Alone("MatMul", (7, 12), (12, 10)).widened(16, 16) == Alone("MatMul", (7, 16), (16, 16))
    convolution = alone_of_module(*LAYERS["groups"])
    depthwise = alone_of_module(LAYERS["depthwise"][0], (1, 6, 9, 9))
    assert convolution is not None and depthwise is not None
    assert (convolution.widths, convolution.widened(12, 9).weight) == ((6, 9), (9, 4, 3, 1))
    assert (depthwise.widened(8, 8).weight, depthwise.widened(8, 8).groups) == ((8, 1, 3, 3), 8)
    assert depthwise.widened(8, 8).shape == (8, 9, 9)


def test_what_is_no_layer_of_one_product() -> None:
    assert alone_of_module(nn.ReLU(), (1, 3)) is None
    assert alone_of_module(nn.Conv2d(3, 3, 3, padding="same"), (1, 3, 8, 8)) is None
    relu, transposed = ir.node("Relu", [ir.val("x")]), ir.node("Gemm", [ir.val("x")], {"transA": 1})
    automatic = ir.node("Conv", [ir.val("x")], {"auto_pad": "SAME_UPPER"})
    assert [alone_of(node, (1, 3), (3, 3)) for node in (relu, transposed)] == [None, None]
    assert alone_of(automatic, (1, 3, 8, 8), (3, 3, 3, 3)) is None
    assert alone_of(ir.node("Gemm", [ir.val("x")], {"transB": 1}), (1, 4), (5, 4)) == Alone("MatMul", (4,), (4, 5))


def test_forms_of_targets(tmp_path: Path) -> None:
    layer = Alone("MatMul", (4, 8), (8, 8))
    torch_cpu, half = (parse_typed_target(name) for name in ("torch:cpu", "onnxruntime:cpu@fp16"))
    assert isinstance(layer.subject(torch_cpu, tmp_path).form(torch_cpu), nn.Linear)
    path = layer.subject(half, tmp_path).form(half)
    assert isinstance(path, Path)
    assert ir.load(path).graph.inputs[0].dtype == ir.DataType.FLOAT16
    copy = Alone("Neg", (4,)).module()
    assert copy(torch.ones(1, 4)).tolist() == [[-1.0] * 4]
    assert copy(torch.ones(2, 4)).shape == (2, 4)
