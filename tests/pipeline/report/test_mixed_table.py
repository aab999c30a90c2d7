"""The tables of mixed precision say what became of each product."""

from __future__ import annotations

from dataclasses import replace

from secateur.pipeline.report.mixed_table import HEADS, mixed_tables
from tests.export.test_artefacts import EXPORTED, LAYER, LIMITED, QUANTIZED


def test_a_row_for_each_product_of_a_graph_with_a_limit() -> None:
    (table,) = mixed_tables(EXPORTED.files)
    assert table.title == "Every product of model.int8.onnx and its precision"
    assert table.said.startswith("model.int8.onnx: a sentence. Its products take 50.0% of the bit-operations")
    assert table.rows == (("blocks.0", "MatMul", "8", "int8", "100.0%", "0.25", "a reason"),)
    assert len(HEADS) == len(table.rows[0])
    assert table.rule == "|---|---|---:|---|---:|---:|---|"
    first = replace(LAYER, module="", precision="fp32", bit_ops=1536.0, divergence=None)
    limited = replace(LIMITED, layers=(first, LAYER))
    graph = replace(EXPORTED.files["model.int8.onnx"], quantized=replace(QUANTIZED, limited=limited))
    rows = mixed_tables({"x": graph})[0].rows
    assert [row[:1] + row[3:6] for row in rows] == [("a", "fp32", "75.0%", "-"), ("blocks.0", "int8", "25.0%", "0.25")]
    assert mixed_tables({"x": replace(graph, quantized=replace(QUANTIZED, limited=None))}) == []
