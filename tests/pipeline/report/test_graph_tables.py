"""Nodes that stay wider, and what the engines run, stand in tables of the report."""

from __future__ import annotations

from dataclasses import replace

from secateur.export.engine_info import Layer, count_precisions
from secateur.pipeline.report.graph_tables import (
    ENGINE_HEADS,
    KEPT_HEADS,
    PARITY_HEADS,
    engine_table,
    kept_table,
    parity_table,
)
from tests.export.test_artefacts import EXPORTED
from tests.export.test_engine_info import ENGINE as FP16_ENGINE

LAYERS = (
    Layer("a", "gemm", "int8"),
    Layer("b", "gemm", "int8"),
    Layer("c", "Reformat", "fp16"),
    Layer("d", "QuantizeLinear", "fp32"),
)
ENGINE = replace(
    FP16_ENGINE,
    precision="int8",
    precisions=count_precisions(LAYERS),
    inspected="builder",
    size_bytes=2_500_000,
    layers=LAYERS,
    attention=12,
    accumulation={"int32": 2},
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
        "products add up in": "int32: 2",
        "conversions": "Reformat: 1, QuantizeLinear: 1",
        "read from": "the builder's report",
    }
    silent = engine_table({"engines/onnxruntime-cpu": replace(ENGINE, accumulation={})})
    assert silent is not None
    assert silent.rows[0][ENGINE_HEADS.index("products add up in")] == "not told"
    assert engine_table({}) is None


def test_every_graph_stands_beside_pytorch_or_says_why_not() -> None:
    table = parity_table(EXPORTED.files)
    assert table is not None
    assert all(len(row) == len(PARITY_HEADS) for row in table.rows)
    assert table.rows[0] == ("model.fp16.onnx", "fp16", "0.0", "1.2e-01", "1e-02", "100%")
    assert table.rows[1][3:] == ("not checked: why", "", "")
    assert parity_table({}) is None
