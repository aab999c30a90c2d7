"""Fronts hold the dense model, the run and the other points of its sweep, with what their intervals leave open."""

from __future__ import annotations

from dataclasses import replace

import pytest

from secateur.benchmarks.bootstrap import Interval
from secateur.pipeline.report.front import Model, fronts, fronts_of_run, models_of
from secateur.pipeline.runs.sweep import SweepFile
from tests.pipeline.report.findings import CPU, findings, swept


def test_a_run_stands_beside_the_dense_model_and_the_rest_of_its_sweep() -> None:
    bench = replace(findings().bench, evaluation_images=1000)
    by_macs, by_latency = fronts_of_run(bench, swept(), "macs-0.5")
    assert [(point.name, point.role) for point in by_macs.points] == [
        ("macs-0.3", "other"),
        ("this run", "here"),
        ("dense", "dense"),
    ]
    assert [point.x.ratio for point in by_macs.points] == [600.0, 1000.0, 2000.0]
    reached = by_macs.points[1].y
    assert reached.low < reached.ratio == 80.9 < reached.high
    assert by_macs.metric == "top-1 accuracy (%)"
    assert by_latency.cost == f"latency on {CPU}, % of dense"
    (share,) = (point.x for point in by_latency.points if point.role == "here")
    assert (share.ratio, share.low, share.high) == pytest.approx((100 / 1.6, 100 / 1.7, 100 / 1.5))
    for front in (by_macs, by_latency):
        for point in front.points:
            assert all(0 < front.x.place(end) < 100 for end in (point.x.low, point.x.high))
            assert all(0 < front.y.place(end) < 100 for end in (point.y.low, point.y.high))


def test_a_run_alone_has_no_other_points_and_one_without_a_metric_no_fronts() -> None:
    bench = findings().bench
    assert [len(front.points) for front in fronts_of_run(bench, None, "x")] == [2, 2]
    assert fronts_of_run(replace(bench, dense=replace(bench.dense, top1=None)), None, "x") == []


def test_a_lone_model_shows_nothing_and_other_metrics_have_no_interval() -> None:
    models = [Model("a", "here", 1e6, 2.0), Model("b", "other", 2e6, 3.0, {CPU: Interval(2, 1, 3)})]
    (front,) = fronts(models, "RMSE", "", 100)
    assert (front.cost, front.metric) == ("MACs in millions", "RMSE")
    assert [(point.y.low, point.y.high) for point in front.points] == [(2, 2), (3, 3)]


def test_models_of_a_sweep_are_its_points_and_the_dense_one_where_that_was_measured() -> None:
    assert [model.name for model in models_of(swept())] == ["dense", "macs-0.5", "macs-0.3"]
    assert [model.name for model in models_of(replace(swept(), dense=None))] == ["macs-0.5", "macs-0.3"]
    assert models_of(None) == models_of(SweepFile("", "macs")) == []
