"""The page of a sweep names the smallest model that is not shown to be worse, and draws all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from secateur.core.errors import RunError
from secateur.pipeline.report.sweep_page import best_of, compared, write_sweep_page
from secateur.pipeline.runs.sweep import SweepFile
from secateur.pipeline.tasks.metric import Metric
from tests.pipeline.report.findings import CPU, swept


def page(folder: Path, content: SweepFile) -> str:
    content.save(folder / "sweep.json")
    return write_sweep_page(folder).read_text()


def test_the_smallest_model_that_is_not_shown_to_be_worse_is_named(tmp_path: Path) -> None:
    text = page(tmp_path, swept())
    assert "macs-0.5 is the smallest of 2 models whose top-1 accuracy is not shown to be worse: -0.50 points [" in text
    assert '<p class="verdict gain">' in text
    for words in (
        *("dense", "macs-0.5", "macs-0.3", "600 M (30.0%)", f"{CPU}: ", "1.00x as fast [0.90, 1.10]", "1000 held-out"),
        f"secateur report {tmp_path}/macs-0.5 --all",
    ):
        assert words in text
    assert text.count("<circle") == 2 * 3  # dense and two points, by MACs and by latency
    assert "--latency" not in text  # it was measured


def test_it_is_headed_by_the_model_as_far_as_a_run_still_says_it(tmp_path: Path) -> None:
    assert f"<title>secateur: sweep of {tmp_path.name}</title>" in page(tmp_path, swept())
    (tmp_path / "macs-0.5").mkdir()
    recipe = "model: {name: 'mine.nets:unet'}\ndata: {path: digits}\nbudget: {macs: 0.5}\n"
    (tmp_path / "macs-0.5" / "recipe.yaml").write_text(recipe)
    assert "<title>secateur: unet, a sweep of macs</title>" in page(tmp_path, swept())


def test_images_that_are_too_few_name_no_model(tmp_path: Path) -> None:
    content = swept()
    assert content.dense is not None
    text = page(tmp_path, replace(content, dense=replace(content.dense, images=6)))
    assert "6 images are too few to tell which of 2 models is worse: give more held-out images" in text
    assert '<p class="verdict unclear">' in text


def test_where_each_is_worse_the_best_of_them_is_named(tmp_path: Path) -> None:
    text = page(tmp_path, swept(60.0, 20.0))
    assert "Of 2 models, macs-0.5 keeps most of the top-1 accuracy: -21.40 points [" in text
    assert '<p class="verdict loss">' in text


def test_without_latencies_it_says_how_to_measure_them(tmp_path: Path) -> None:
    content = swept()
    bare = replace(content, points=tuple(replace(point, speedup={}) for point in content.points))
    text = page(tmp_path, bare)
    words = f"secateur sweep {tmp_path}/macs-0.5/recipe.yaml --budgets 0.5,0.3 --out {tmp_path} --latency"
    assert words in text
    assert "No latency was measured." in text
    assert text.count("<circle") == 3


def test_a_metric_without_an_interval_names_no_smallest(tmp_path: Path) -> None:
    content, error = swept(), Metric("RMSE", 2.0, False, "")
    assert content.dense is not None
    points = tuple(replace(point, metric=replace(error, value=2.5 + point.budget)) for point in content.points)
    told = replace(content, points=points, dense=replace(content.dense, metric=error))
    assert told.dense is not None
    assert best_of(told, told.dense) is None
    text = page(tmp_path, told)
    assert "Of 2 models, macs-0.3 keeps most of the RMSE: +0.8" in text
    assert '<p class="verdict unclear">' in text


def test_what_is_no_whole_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="says nothing of the dense model: run the sweep again"):
        page(tmp_path, replace(swept(), dense=None))
    content = swept()
    assert content.dense is not None
    point = replace(content.points[0], metric=None, top1=None)
    with pytest.raises(RunError, match="says nothing of what it reaches"):
        compared(point, content.dense)
