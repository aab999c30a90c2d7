"""The ONNX function computes what the operator computes: every input, by ONNX's own evaluator and by ONNX Runtime."""

from __future__ import annotations

import copy
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import timm
import torch
from onnx.reference import ReferenceEvaluator
from safetensors.torch import load_file
from torch import Tensor, nn

import secateur as sc
from secateur.core.errors import ExportError, KernelError
from secateur.export.onnx_info import OnnxInfo
from secateur.export.precision import PRECISIONS
from secateur.kernels.fuse import KERNELS, is_fused
from secateur.kernels.heads import HeadLayout
from secateur.kernels.onnx_function import INPUTS, add_functions, function_name, without_functions
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.plan import plan_from_kept
from tests.kernels.models import image
from tests.kernels.reference import attention, drawn, error_of

LAYOUTS = {
    "equal": HeadLayout((8, 8), (8, 8), 0.3),
    "one head": HeadLayout((5,), (7,), 0.3),
    "mixed": HeadLayout((8, 4, 8, 8), (8, 3, 8, 5), 0.3),
}
SHAPES = {
    "qkv_bias": lambda layout: (layout.row_width,),
    "bias": lambda layout: (layout.heads, 6, 6),
    "mask": lambda layout: (2, 6, 6),
}


def graph_of(layout: HeadLayout, inputs: dict[str, np.ndarray]) -> onnx.ModelProto:
    """A model of one node with the inputs that are given, checked."""
    values = {
        name: ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(ir.DataType.from_numpy(array.dtype)))
        for name, array in inputs.items()
    }
    attributes = {"qk_dims": list(layout.qk_dims), "v_dims": list(layout.v_dims), "scale": layout.scale}
    node = ir.node("RaggedAttention", [values.get(name) for name in INPUTS], attributes, domain="secateur")
    node.outputs[0].name = "out"
    node.outputs[0].type = values["qkv"].type
    node.outputs[0].shape = ir.Shape(["B", "N", "C"])
    graph = ir.Graph(list(values.values()), node.outputs, nodes=[node], opset_imports={"": 20}, name="one node")
    program = ir.Model(graph, ir_version=10)
    add_functions(program)
    model = ir.to_proto(program)
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("chosen", list(product([False, True], repeat=3)), ids=lambda c: "".join("01"[x] for x in c))
def test_every_combination_of_inputs(name: str, chosen: tuple[bool, ...]) -> None:
    layout = LAYOUTS[name]
    inputs = {"qkv": drawn(0, (4, 6, layout.row_width), "fp32")}
    for seed, (extra, there) in enumerate(zip(SHAPES, chosen, strict=True)):
        if there:
            inputs[extra] = drawn(seed + 1, SHAPES[extra](layout), "fp32")
    model = graph_of(layout, inputs)
    assert [len(model.graph.node[0].input), len(model.functions[0].input)] == [len(inputs)] * 2
    (out,) = ReferenceEvaluator(model).run(None, inputs)
    assert error_of(out, attention(inputs["qkv"], layout, **{n: x for n, x in inputs.items() if n != "qkv"})) < 2e-6


def test_half_precision_one_bias_for_all_heads_and_rows_without_keys() -> None:
    ort = pytest.importorskip("onnxruntime")
    layout = LAYOUTS["mixed"]
    inputs = {
        "qkv": drawn(0, (2, 6, layout.row_width), "fp16"),
        "bias": drawn(1, (1, 6, 6), "fp16"),
        "mask": np.zeros((1, 6, 6), np.float16),
    }
    inputs["mask"][:, 2] = -np.inf
    session = ort.InferenceSession(graph_of(layout, inputs).SerializeToString(), providers=["CPUExecutionProvider"])
    (out,) = session.run(None, inputs)
    assert not out[:, 2].any()
    expected = attention(inputs["qkv"], layout, bias=inputs["bias"], mask=inputs["mask"])
    assert error_of(out, expected) < 3e-3


def logits_of(path: Path, images: Tensor) -> Tensor:
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"input": images.numpy()})[0])


def nodes_of(path: Path) -> list[str]:
    return [f"{node.domain}::{node.op_type}" for node in onnx.load(path).graph.node]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_export_with_the_node(small: nn.Module, node_graphs: dict[str, OnnxInfo], precision: str) -> None:
    info = node_graphs[precision]
    model = onnx.load(info.path)
    nodes = [node for node in model.graph.node if node.domain == "secateur"]
    assert [node.op_type for node in nodes] == [
        "RaggedAttention_1x1v3_1x2v1_1x8v16_s3e800000", "RaggedAttention_2x16v16_s3e800000"
    ]  # fmt: skip
    assert [(f.domain, f.name, f.overload) for f in model.functions] == [("secateur", n.op_type, "") for n in nodes]
    assert info.precision == precision
    assert not is_fused(small)
    if precision != "bf16":  # ONNX Runtime has no bf16 on CPUs
        with torch.no_grad():
            difference = (logits_of(info.path, image(5)) - small(image(5))).abs().max()
        assert difference < {"fp32": 1e-5, "fp16": 2e-2}[precision]


@pytest.mark.parametrize("kernels", [False, True])
def test_a_fused_model_exports_too(small: nn.Module, tmp_path: Path, kernels: bool) -> None:
    """Without the flag as standard operators only; with it, all but attention as standard operators."""
    fused = sc.fuse(small, KERNELS)
    info = sc.export_onnx(fused, tmp_path / "a.onnx", image(), kernels=kernels)
    assert sum(node.startswith("secateur::RaggedAttention_") for node in nodes_of(info.path)) == 2 * kernels
    assert {node.split("::")[0] for node in nodes_of(info.path)} == {"", *(["secateur"] if kernels else [])}
    with torch.no_grad():
        torch.testing.assert_close(logits_of(info.path, image(5)), small(image(5)), atol=1e-5, rtol=1e-4)


def test_layers_of_equal_heads_share_a_function(small: nn.Module, tmp_path: Path) -> None:
    same = copy.deepcopy(small)
    same.blocks[0].attn = copy.deepcopy(same.blocks[1].attn)
    info = sc.export_onnx(same, tmp_path / "a.onnx", image(), kernels=True)
    assert len(onnx.load(info.path).functions) == 1


def test_the_flag_is_refused_where_there_is_nothing_for_it(small: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="nothing that the kernels could serve"):
        sc.export_onnx(nn.Sequential(nn.Flatten(), nn.Linear(768, 2)), tmp_path / "a.onnx", image(), kernels=True)
    with pytest.raises(ExportError, match="VisionTransformer has no attention that the kernels serve"):
        sc.export_onnx(sc.fuse(small, ["bias_gelu"]), tmp_path / "a.onnx", image(), kernels=True)
    assert not (tmp_path / "a.onnx").exists()


@pytest.mark.nightly
def test_a_pruned_deit_gives_the_same_logits_everywhere(real_data: Path, tmp_path: Path) -> None:
    """Heads of 24 to 64 within a layer: eager, with the operators, and in ONNX Runtime through the function.

    Its first four blocks, which is as good as twelve here and three times faster.
    """
    model = timm.create_model("deit_tiny_patch16_224", depth=4).eval()
    weights = load_file(real_data / "weights" / "deit_tiny_patch16_224.safetensors")
    names = model.state_dict().keys()
    model.load_state_dict({name: weights[name].float() for name in names})
    kept = {}
    for index in range(4):
        widths = (24 + 8 * (index % 4), 64, 40)
        chosen = [64 * head + d for head, width in enumerate(widths) for d in range(width)]
        kept[f"blocks.{index}.attn.v"] = kept[f"blocks.{index}.attn.qk"] = chosen
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    small = sc.prune(model, plan_from_kept(find_groups(model, images), kept))
    info = sc.export_onnx(small, tmp_path / "deit.onnx", kernels=True)
    assert len(onnx.load(info.path).functions) == 4
    with torch.no_grad():
        expected = small(images)
        torch.testing.assert_close(sc.fuse(small)(images), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(logits_of(info.path, images), expected, atol=1e-4, rtol=1e-4)


def test_the_plugin_takes_the_projection_only() -> None:
    layout = LAYOUTS["equal"]
    qkv, bias = drawn(0, (1, 6, layout.row_width), "fp32"), drawn(1, (1, 6, 6), "fp32")
    without_functions(graph_of(layout, {"qkv": qkv}))
    with pytest.raises(KernelError, match=r"has 2 inputs, but the TensorRT plugin takes the packed projection only"):
        without_functions(graph_of(layout, {"qkv": qkv, "bias": bias}))


def test_names_tell_functions_apart() -> None:
    """Heads, their order, the scale and the inputs: whatever changes the body changes the name."""
    layouts = [
        HeadLayout((8, 8), (8, 8), 0.5), HeadLayout((8, 8), (8, 8), 0.25), HeadLayout((8, 8), (8, 4), 0.5),
        HeadLayout((8, 8), (4, 8), 0.5), HeadLayout((8,), (8,), 0.5),
    ]  # fmt: skip
    present = list(product([False, True], repeat=3))
    names = {function_name(layout, given) for layout in layouts for given in present}
    assert len(names) == len(layouts) * len(present)
    assert all(name.isidentifier() for name in names)
