"""Nodes that stay wider, and what the engines run, stand in tables of the report."""

from __future__ import annotations

from secateur.export.engine_info import EngineInfo, Layer, Profile, count_precisions
from secateur.export.tensors import TensorInfo
from secateur.pipeline.report.graph_tables import ENGINE_HEADS, KEPT_HEADS, engine_table, kept_table
from tests.export.test_artefacts import EXPORTED

LAYERS = (
    Layer("a", "gemm", "int8"),
    Layer("b", "gemm", "int8"),
    Layer("c", "Reformat", "fp16"),
    Layer("d", "QuantizeLinear", "fp32"),
)
ENGINE = EngineInfo(
    target="tensorrt_rtx:sm_86",
    runtime="tensorrt_rtx",
    runtime_version="1.7.1",
    platform="linux-x86_64",
    compute_capabilities=("sm_86",),
    precision="int8",
    precisions=count_precisions(LAYERS),
    inspected="builder",
    tf32=True,
    inputs=(TensorInfo("input", "float32", (-1, 3, 8, 8)),),
    outputs=(TensorInfo("logits", "float32", (-1, 4)),),
    profile=Profile(1, 2, 3),
    onnx_sha256="0" * 64,
    engine_sha256="0" * 64,
    size_bytes=2_500_000,
    seconds=0.25,
    layers=LAYERS,
    attention=12,
)


def test_nodes_that_stay_wider_stand_with_their_reasons() -> None:
    table = kept_table(EXPORTED.files)
    assert table is not None
    assert len(table.heads) == len(KEPT_HEADS) == len(table.rows[0])
    assert ("model.int8.onnx", "head", "a reason") in table.rows
    assert ("model.fp16.onnx", "node_sum", "a reason") in table.rows
    assert kept_table({}) is None


def test_what_each_engine_runs_stands_in_a_row() -> None:
    table = engine_table({"engines/tensorrt_rtx-sm_86": ENGINE})
    assert table is not None
    (row,) = table.rows
    assert dict(zip(ENGINE_HEADS, row, strict=True)) == {
        "engine": "engines/tensorrt_rtx-sm_86",
        "graph": "int8",
        "MB": "2.5",
        "layers by precision": "int8: 2, fp16: 1, fp32: 1",
        "fused attention": "12",
        "conversions": "Reformat: 1, QuantizeLinear: 1",
        "read from": "the builder's report",
    }
    assert engine_table({}) is None
