"""The distributions of both sides, with their medians, on one axis."""

from __future__ import annotations

from dataclasses import replace

import pytest

from secateur.pipeline.report.latency_chart import latency_charts
from tests.pipeline.report.findings import CPU, findings


def test_both_sides_stand_on_one_axis_with_their_medians() -> None:
    bench = findings().bench
    (chart,) = latency_charts(bench)
    assert (chart.target, chart.batch, chart.judged) == (CPU, 1, "gain")
    assert chart.said == "1.60x faster [1.50, 1.70]"
    assert chart.dense.median == pytest.approx(chart.axis.place(8.0))
    assert 0 < chart.pruned.median < chart.dense.median < 100
    for side in (chart.dense, chart.pruned):
        assert max(side.heights) <= 100
        places = [place for place, height in enumerate(side.heights) if height]
        middle = (places[0] + places[-1] + 1) / 2 / len(side.heights) * 100
        assert abs(middle - side.median) < 5  # where the bars are, the median is
    assert max(*chart.dense.heights, *chart.pruned.heights) == 100


def test_without_latencies_there_is_no_chart() -> None:
    assert latency_charts(replace(findings().bench, speedup={})) == []
