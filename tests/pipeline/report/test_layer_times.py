"""Layers are drawn beside each other, and those that lost MACs but no time are named with the reason."""

from __future__ import annotations

from dataclasses import replace

from secateur.benchmarks.environment import environment
from secateur.benchmarks.layers.layers_file import LayerProfile, LayerRow, Roofline
from secateur.pipeline.report.layer_times import HEADS, SHOWN, layer_times

SLOW = LayerRow("blocks.0.fc1", "Conv", 8000, 4000, 100, 60, 2.0, 1.9, 1.05, 0.97, 1.06, "too small <b>")
FAST = LayerRow("blocks.0.fc2", "Gemm", 8000, 4000, 100, 60, 1.0, 0.5, 2.0, 1.9, 2.1)
GONE = LayerRow("blocks.0.act", "Relu", 0, 0, 10, 0, 0.5, 0.0, None, None, None)
PROFILE = LayerProfile(
    "onnxruntime:cpu", 1, (FAST, SLOW, GONE), Roofline(1e9, 1e9), environment(1), 4.0, 3.0, 1.33, 1.2, 1.4, ("a note",)
)


def test_layers_stand_in_their_order_with_what_their_intervals_show() -> None:
    times = layer_times(PROFILE)
    assert [(one.name, one.dense, one.pruned, one.judged) for one in times.layers] == [
        ("blocks.0.fc2", 50, 25, "gain"),
        ("blocks.0.fc1", 100, 95, "unclear"),
        ("blocks.0.act", 25, 0, "unclear"),
    ]
    assert [one.said for one in times.layers] == ["2.00x faster [1.90, 2.10]", "1.05x as fast [0.97, 1.06]", ""]
    assert [(one.name, one.reason) for one in times.blamed] == [("blocks.0.fc1", "too small <b>")]
    assert times.whole == "4.000 ms dense, 3.000 ms pruned: 1.33x faster [1.20, 1.40]"
    assert all(len(row) == len(HEADS) for row in times.table.rows)
    assert times.table.rows[1][2:4] == ("8 k", "4 k")


def test_of_many_layers_the_longest_are_drawn_and_all_are_in_the_table() -> None:
    rows = tuple(replace(FAST, name=str(number), ms_dense=float(number)) for number in range(SHOWN + 5))
    times = layer_times(replace(PROFILE, rows=rows))
    assert [one.name for one in times.layers] == [str(number) for number in range(5, SHOWN + 5)]
    assert (times.left, len(times.table.rows)) == (5, SHOWN + 5)
