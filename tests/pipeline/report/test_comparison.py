"""Runs side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from secateur.core.errors import BenchError
from secateur.core.figures import save_figure
from secateur.pipeline.report.comparison import compare_runs, comparison_figure
from secateur.pipeline.report.table import rows_of
from tests.benchmarks.samples import result

CPU, GPU = "onnxruntime:cpu", "torch:cuda"


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two runs of one model: a faster one, and a slower one that was measured on a second target too."""
    found = {"half": result(1.5), "third": result(0.7, targets={CPU: 1, GPU: 1}, top1=(82.0, 70.0))}
    for name, one in found.items():
        one.save(tmp_path / name / "bench.json")
    return [tmp_path / name for name in found]


def test_every_quantity_of_any_run_has_a_row_with_a_cell_for_each(runs: list[Path]) -> None:
    found = compare_runs(runs)
    assert found.runs == tuple(map(str, runs))
    by_name = {one.name: one for one in found.quantities}
    for place, run in enumerate(found.results):
        for row in rows_of(run):
            assert by_name[row.name].runs[place] == row
    alone = by_name[f"latency {GPU} (p50)"]
    assert alone.runs[0] is None and alone.runs[1] is not None and alone.dense == alone.runs[1].dense
    assert found.notes == ()


def test_what_is_not_the_same_is_noted(runs: list[Path]) -> None:
    one = result(1.5)
    other = replace(one, dense=replace(one.dense, macs=999), environment=replace(one.environment, cpu_model="Another"))
    other.save(runs[1] / "bench.json")
    notes = compare_runs(runs).notes
    assert len(notes) == 2 and "another dense model" in notes[0] and "another machine" in notes[1]
    result(1.5, top1=(80.0, 79.0)).save(runs[1] / "bench.json")
    assert "reaches another top-1 accuracy" in compare_runs(runs).notes[0]


def test_the_picture_has_a_point_for_each_run_where_it_was_measured(runs: list[Path], tmp_path: Path) -> None:
    figure = comparison_figure(compare_runs(runs))
    points = [[tuple(map(float, line.get_xydata()[0])) for line in axes.lines] for axes in figure.axes]
    assert points[0] == [(pytest.approx(48.0), 81.0), (pytest.approx(48.0), 70.0)]
    assert [len(found) for found in points] == [2, 2, 1]
    assert points[1][0][0] == pytest.approx(1.5, abs=0.1) and points[1][1][0] == pytest.approx(0.7, abs=0.1)
    assert [axes.get_xlabel() for axes in figure.axes][1:] == [f"times as fast on {one}" for one in (CPU, GPU)]
    assert len({line.get_color() for line in figure.axes[1].lines}) == 2  # a gain and a loss
    save_figure(figure, tmp_path / "compare.png")
    assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_one_run_is_no_comparison(runs: list[Path]) -> None:
    for given in ([], runs[:1], [runs[0], runs[0]]):
        with pytest.raises(BenchError, match="needs two or more runs, each once"):
            compare_runs(given)
