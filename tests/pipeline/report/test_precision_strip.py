"""The layers of an engine in stretches of one precision, and each of them in a table."""

from __future__ import annotations

import pytest

from secateur.pipeline.report.precision_strip import layer_tables, precision_strips
from tests.pipeline.report.test_graph_tables import ENGINE, LAYERS


def test_neighbours_of_one_precision_make_a_stretch() -> None:
    (strip,) = precision_strips({"engines/x": ENGINE})
    assert (strip.engine, strip.asked, strip.precisions) == ("engines/x", "int8", ("int8", "fp16", "fp32"))
    assert [(one.precision, one.place, one.width) for one in strip.stretches] == [
        ("int8", 0, 50),
        ("fp16", 50, 25),
        ("fp32", 75, 25),
    ]
    assert [one.said for one in strip.stretches][:2] == ["2 layers in int8: a to b", "1 layer in fp16: c"]
    assert sum(one.width for one in strip.stretches) == pytest.approx(100)
    assert precision_strips({}) == []


def test_every_layer_stands_in_a_table() -> None:
    (table,) = layer_tables({"engines/x": ENGINE})
    assert table.rows == tuple((layer.name, layer.kind, layer.precision) for layer in LAYERS)
    assert table.only_html
