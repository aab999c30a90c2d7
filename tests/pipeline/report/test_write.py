"""The report: self-contained, complete, and the same numbers everywhere."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from secateur.benchmarks.bootstrap import Interval
from secateur.benchmarks.results_file import Narrowed
from secateur.pipeline.analysis.fidelity import Example, Fidelity
from secateur.pipeline.analysis.fidelity_file import FidelityFile
from secateur.pipeline.report.fidelity_of_run import Maps
from secateur.pipeline.report.table import rows_of
from secateur.pipeline.report.write import write_report
from secateur.pipeline.scores.score import Scores
from tests.export.test_artefacts import EXPORTED
from tests.pipeline.report.findings import CPU, HIDDEN, findings
from tests.pipeline.report.test_graph_tables import ENGINE


def test_the_page_is_whole_and_loads_nothing(tmp_path: Path) -> None:
    written = write_report(tmp_path, findings(model={"name": "deit_tiny_patch16_224", "pretrained": True}))
    assert written == ["report.html", "report.md"]
    page = (tmp_path / "report.html").read_text()
    links: list[str] = []
    open_tags: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            links.extend(value or "" for key, value in attrs if key in ("src", "href"))
            if tag not in ("meta", "img", "br", "link", "input"):
                open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

    Reader().feed(page)
    assert not open_tags
    assert links
    assert all(link.startswith("#") and f'id="{link[1:]}"' in page for link in links)
    assert "<script" not in page
    for words in ("81.40 %", "-0.50 points", "50.0% of dense", "1.60x faster [1.50, 1.70]", "test &lt;cpu&gt;"):
        assert words in page
    assert '<td class="unclear">-0.50 points</td>' in page
    assert '<td class="gain">50.0% of dense</td>' in page
    assert '<p class="verdict gain">' in page
    assert "Not measured: torch:cuda: no GPU here" in page


def test_both_files_are_headed_by_the_name_of_the_model(tmp_path: Path) -> None:
    write_report(tmp_path, findings(model={"name": "mine.nets:unet", "weights": "x.safetensors"}))
    assert "<title>secateur: unet</title>" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "report.md").read_text().startswith("# unet")


def test_a_model_with_random_weights_is_no_good_news(tmp_path: Path) -> None:
    write_report(tmp_path, findings())
    assert '<p class="verdict unclear">' in (tmp_path / "report.html").read_text()


def test_precisions_are_told_with_their_reasons(tmp_path: Path) -> None:
    found = findings()
    latency = found.bench.pruned.latency_ms[CPU]
    narrowed = Narrowed(CPU, "int8", "fp16", latency, latency, Interval(0.5, 0.4, 0.6))
    told = replace(found, graphs=EXPORTED.files, engines={"engines/x": ENGINE})
    write_report(tmp_path, replace(told, bench=replace(found.bench, narrowed=(narrowed,))))
    page, summary = ((tmp_path / name).read_text() for name in ("report.html", "report.md"))
    for text in (page, summary):
        assert "batch 1: int8 is not faster than fp16 (0.500 [0.400, 0.600] times as fast): keep fp16 there" in text
    assert '<td>blocks.0</td><td>MatMul</td><td class="number">8</td><td>int8</td>' in page
    lines = summary.splitlines()
    place = lines.index("| layer | operation | MACs | precision | bit-operations | cost alone | why |")
    assert lines[place + 2] == "| blocks.0 | MatMul | 8 | int8 | 100.0% | 0.25 | a reason |"
    assert lines[place - 1] == lines[place + 3] == ""
    assert "| model.fp16.onnx | node_sum | a reason |" in lines
    assert any(line.startswith("| engines/x | int8 | 2.5 | int8: 2, ") for line in lines)
    assert "<td>the builder&#39;s report</td>" in page


def test_the_summary_holds_the_same_rows(tmp_path: Path) -> None:
    write_report(tmp_path, findings())
    summary = (tmp_path / "report.md").read_text()
    rows = rows_of(findings().bench)
    assert len(rows) == 5
    for row in rows:
        assert f"| {row.name} | {row.dense} | {row.pruned} | {row.change} |" in summary
    assert "| blocks.0.mlp.hidden | mlp_hidden | 8 | 3 |" in summary


def test_the_same_run_gives_the_same_report(tmp_path: Path) -> None:
    write_report(tmp_path, findings())
    first = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    write_report(tmp_path, findings())
    assert first == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_fidelity_is_shown_with_its_numbers(tmp_path: Path) -> None:
    example = Example(1, 3, torch.rand(3, 4, 4), torch.rand(2, 2), torch.rand(2, 2), 0.5, 0.4)
    written = write_report(
        tmp_path, replace(findings(), maps=Maps(Fidelity((0.9, 0.5), (0.8, 0.4), (example,)), "gamma"))
    )
    assert {"figures/evidence.png", "fidelity.json"} < set(written)
    page = (tmp_path / "report.html").read_text()
    assert "by a cosine of 0.70 and a rank correlation of 0.60 on 2 held-out images" in page
    assert "Shown is relevance propagation by the rules gamma." in page
    assert page.count('src="data:image/jpeg;base64,') == 3
    assert "(figures/evidence.png)" in (tmp_path / "report.md").read_text()
    assert "cosine 0.70, rank 0.60 on 2 images" in (tmp_path / "report.md").read_text()
    content = FidelityFile.load(tmp_path / "fidelity.json")
    assert (content.cosine, content.rank) == ((0.9, 0.5), (0.8, 0.4))
    assert (content.mean_cosine, content.mean_rank) == pytest.approx((0.7, 0.6))
    assert [(example.index, example.explained) for example in content.examples] == [(1, 3)]
    assert content.rules == "gamma"


def test_class_wise_scores_are_shown_with_the_units_of_one_class(tmp_path: Path) -> None:
    scores = torch.ones(3, 8)
    scores[:, 2] = torch.tensor([0.1, 9.0, 0.2])
    names = ("ant", "bee", "cat")
    found = replace(findings(), scores=Scores({HIDDEN: scores}, "xmask"), classes=names)
    found = replace(found, recipe=replace(found.recipe, classes=names))
    assert "figures/classes.png" in write_report(tmp_path, found)
    page, summary = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    assert 'src="data:image/png;base64,' in page
    assert "| bee | 1 | blocks.0.mlp.hidden[2] |" in summary
    assert "* classes: ant, bee, cat" in summary
    assert "<td>blocks.0.mlp.hidden[2]</td>" in page
