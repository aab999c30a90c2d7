"""layers.json says what was measured, and is read as it was written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from secateur.benchmarks.layers.layers_file import read_layers
from secateur.core.errors import BenchError, RunError
from tests.benchmarks.layers.planted import ROOFLINE, profile, row


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    gone = row("gone", macs_pruned=0, bytes_pruned=0, ms_pruned=0.0, ratio=None, low=None, high=None)
    written = profile(row(samples_dense_ms=(0.9, 0.91), samples_pruned_ms=(0.6, 0.61)), gone)
    written.save(tmp_path / "layers.json")
    assert read_layers(tmp_path) == read_layers(tmp_path / "layers.json") == written


def test_other_content_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "layers.json"
    with pytest.raises(RunError, match=r"layers\.json"):
        read_layers(tmp_path)
    profile(row()).save(path)
    content = json.loads(path.read_text())
    del content["rows"][0]["ms_dense"]
    path.write_text(json.dumps(content))
    with pytest.raises(BenchError, match=r"rows\.0\.ms_dense: .*secateur profile RUN --layers"):
        read_layers(path)
    path.write_text(json.dumps({**content, "schema": "secateur.bench/1"}))
    with pytest.raises(RunError, match=r"secateur\.bench/1"):
        read_layers(path)


def test_intensities_and_shares() -> None:
    both = profile(row(ms_dense=3.0), row("head", ms_dense=1.0, ms_pruned=0.2, bytes_pruned=0))
    assert (both.rows[0].intensity_dense, both.rows[0].intensity_pruned) == (2.5, 2.0)
    assert both.rows[1].intensity_pruned is None
    assert [both.share_dense(one) for one in both.rows] == [0.75, 0.25]
    assert [both.share_pruned(one) for one in both.rows] == pytest.approx([0.75, 0.25])


def test_the_roofline_is_the_slower_of_both() -> None:
    assert ROOFLINE.ridge == 10
    assert ROOFLINE.least_ms(macs=2_000_000, bytes_moved=100_000) == 2.0  # the arithmetic takes 2 ms, the bytes 1
    assert ROOFLINE.least_ms(macs=2_000_000, bytes_moved=500_000) == 5.0
