"""The table of a run: gains, losses and what is not known, in rows and on the terminal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from secateur.benchmarks.gating.matched_pairs import Pairs
from secateur.benchmarks.keys import TOP1
from secateur.benchmarks.results_file import Compared
from secateur.pipeline.report.table import compact, print_table, rows_of, table_of
from tests.pipeline.report.findings import CPU, compared, findings, side


def test_a_gain_and_a_loss_are_told_apart() -> None:
    rows = rows_of(findings().bench)
    assert [(row.name, row.change, row.judged) for row in rows] == [
        ("top-1 accuracy", "-0.50 points", "unclear"),  # on an unknown number of images
        ("MACs", "50.0% of dense", "gain"),
        ("parameters", "50.0% of dense", "gain"),
        ("size (bytes)", "50.0% of dense", "gain"),
        ("latency onnxruntime:cpu (p50)", "1.60x faster [1.50, 1.70]", "gain"),
    ]
    assert [(row.dense, row.pruned) for row in rows[:2]] == [("81.40 %", "80.90 %"), ("2 G", "1 G")]


def test_a_slowdown_is_called_one() -> None:
    row = rows_of(compared(side(2 * 10**9, 80, 5.0), side(10**9, 80, 8.0), 0.62, 0.6, 0.64))[-1]
    assert (row.change, row.judged) == ("1.61x slower [1.56, 1.67]", "loss")


def test_a_speedup_around_one_is_neither() -> None:
    row = rows_of(compared(side(2 * 10**9, 80, 5.0), side(10**9, 80, 5.0), 1.0, 0.97, 1.06))[-1]
    assert (row.change, row.judged) == ("1.00x as fast [0.97, 1.06]", "unclear")


def test_a_share_of_images_has_its_interval_and_an_engine_its_own_accuracy() -> None:
    pairs = Pairs(1000, 814, 105, 0)
    metric = Compared(TOP1, 81.4, 70.9, pairs=pairs)
    bench = replace(findings().bench, evaluation_images=1000, metric=metric, accuracy={f"{CPU}@int8": metric})
    row, engine, *_ = rows_of(bench)
    assert (row.dense, row.pruned) == ("81.40 % [78.9, 83.7]", "70.90 % [68.0, 73.6]")
    assert row.change.startswith("-10.50 points [-12.")
    assert (row.judged, engine.name) == ("loss", f"{TOP1} of {CPU}@int8")


def test_each_precision_has_its_own_size() -> None:
    bench = findings().bench
    sizes = {CPU: bench.dense.size_bytes or 0, f"{CPU}@int8": 1000}
    halves = {goal: size // 2 for goal, size in sizes.items()}
    both = replace(bench, dense=replace(bench.dense, sizes=sizes), pruned=replace(bench.pruned, sizes=halves))
    names = [row.name for row in rows_of(both) if "size" in row.name]
    assert names == [f"size of {CPU} (bytes)", f"size of {CPU}@int8 (bytes)"]
    alone = replace(both, dense=replace(bench.dense, sizes={CPU: sizes[CPU]}))
    assert [row.name for row in rows_of(alone) if "size" in row.name] == ["size (bytes)"]


def test_what_is_not_known_has_no_row() -> None:
    bench = findings().bench
    unknown = replace(bench, dense=replace(bench.dense, top1=None, macs=None))
    assert [row.name for row in rows_of(unknown)] == ["parameters", "size (bytes)", "latency onnxruntime:cpu (p50)"]


def test_it_is_printed_with_what_was_not_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    findings().bench.save(tmp_path / "bench.json")
    assert table_of(tmp_path) == rows_of(findings().bench)
    print_table(tmp_path)
    printed = capsys.readouterr().out
    for words in ("81.40 %", "50.0% of dense", "not measured: torch:cuda: no GPU here", f"{tmp_path}/report.html"):
        assert words in printed


@pytest.mark.parametrize(
    ("number", "words"), [(1.2583e9, "1.258 G"), (5.72e6, "5.72 M"), (2500, "2.5 k"), (812, "812")]
)
def test_counts_are_short(number: float, words: str) -> None:
    assert compact(number) == words


def test_metrics_of_other_tasks_have_their_rows() -> None:
    errors, share = Compared("RMSE", 2.0, 2.5, higher_is_better=False, unit=""), Compared("mAP", 50.0, 51.25)
    rows = rows_of(replace(findings().bench, metric=errors, other_metrics=(share,)))
    assert [(row.name, row.dense, row.pruned, row.change, row.judged) for row in rows[:2]] == [
        ("RMSE", "2", "2.5", "+0.5", "unclear"),
        ("mAP", "50.00 %", "51.25 %", "+1.25 points", "unclear"),
    ]
