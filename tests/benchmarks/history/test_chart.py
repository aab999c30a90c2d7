"""The picture of a history: self-contained, the same for the same lines, and with everything in it."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from secateur.benchmarks.history.change_points import Change
from secateur.benchmarks.history.chart import row, sparkline, write_chart
from secateur.benchmarks.history.lines import lines_of
from secateur.core.errors import BenchError
from tests.benchmarks.history.entries import entries, measured, stepped

LINES = lines_of([*entries(stepped()), measured("a.b")], ["pruned p50"])
CHANGES = {0: [Change(12, f"{12:02x}{12:038x}", 0.3, False)], 1: []}


def test_a_picture_is_one_file_of_its_own(tmp_path: Path) -> None:
    write_chart(tmp_path / "trend.svg", LINES, CHANGES)
    drawn = (tmp_path / "trend.svg").read_text()
    root = ElementTree.fromstring(drawn)
    texts = {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"half: pruned p50, torch:cpu, batch 1 on ci", "a.b: pruned p50, onnxruntime:cpu, batch 1 on ci"} <= texts
    assert {"+30.0%", "ms"} <= texts
    write_chart(tmp_path / "trend.html", LINES, CHANGES)
    page = (tmp_path / "trend.html").read_text()
    assert page.startswith("<!doctype html>") and page.count("<svg") == 1 and "<?xml" not in page
    assert drawn[drawn.index("<svg") :] in page
    assert "src=" not in page and "<link" not in page and "<script" not in page
    assert "<td>0c00000 +30.0% (worse)</td>" in page and "<td>20</td>" in page
    with pytest.raises(BenchError, match=r"got the file trend\.png: a history is drawn as .svg or .html"):
        write_chart(tmp_path / "trend.png", LINES, CHANGES)


def test_cells_and_sparklines() -> None:
    (line,) = lines_of(entries([1234.5, 2.0, 3.0]))
    assert row(line, []) == ("3", "1,234.5 ms", "3 ms", "none")
    assert sparkline([1, 2, 8]) == "▁▂█"
    assert sparkline([5, 5]) == "▁▁"
    assert sparkline(range(30), 2) == "▁█"
