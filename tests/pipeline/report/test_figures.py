"""The pictures of a run show its numbers."""

from __future__ import annotations

from dataclasses import replace

from secateur.pipeline.report.figures import kept_units, latency
from tests.pipeline.report.findings import CPU, findings, row

GROUPS = [
    row("blocks.0.mlp.hidden", "mlp_hidden", 8),
    row("blocks.1.mlp.hidden", "mlp_hidden", 6),
    row("blocks.0.attn.v", "v_dim", 4, blocks=2),
]


def test_each_layer_of_a_pruned_kind_has_a_bar_for_its_units_and_one_for_those_left() -> None:
    (axes,) = kept_units(GROUPS, {"blocks.0.mlp.hidden": (0, 1, 5)}).axes
    heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
    assert heights == [[8, 6], [3, 6]]  # a layer that the plan does not name keeps all
    assert axes.get_title("left") == "MLP hidden units: 9 of 14 kept"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1"]


def test_kinds_stand_above_each_other() -> None:
    plan = {"blocks.0.mlp.hidden": (0,), "blocks.0.attn.v": (0, 2)}
    titles = [axes.get_title("left") for axes in kept_units(GROUPS, plan).axes]
    assert titles == ["value dimensions: 2 of 4 kept", "MLP hidden units: 7 of 14 kept"]


def test_a_plan_that_removes_nothing_is_said() -> None:
    assert [text.get_text() for text in kept_units(GROUPS, {}).texts] == ["no units were removed"]


def test_latencies_are_distributions_with_their_medians() -> None:
    bench = findings().bench
    (axes,) = latency(bench).axes
    assert axes.get_title("left") == f"{CPU}: 1.60x"
    assert [line.get_xdata()[0] for line in axes.lines] == [8.0, 5.0]
    assert [sum(bar.get_height() for bar in bars) for bars in axes.containers] == [50, 50]
    assert [text.get_text() for text in latency(replace(bench, speedup={})).texts] == ["no latency was measured"]
