"""The report: self-contained, complete, and the same numbers everywhere."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from secateur.core.files import write_json
from secateur.pipeline.analysis.fidelity import Example, Fidelity
from secateur.pipeline.report.table import rows_of, table_of
from secateur.pipeline.report.write import write_report
from secateur.pipeline.scores.score import Scores


def side(macs: float, top1: float, p50: float) -> dict[str, object]:
    samples = (p50 + 0.1 * np.random.default_rng(0).random(50)).tolist()
    latency = {"p50": p50, "p90": p50 + 0.05, "p99": p50 + 0.1, "batch": 1, "samples": samples}
    return {
        "macs": macs,
        "params": macs / 100,
        "size_bytes": macs / 25,
        "top1": top1,
        "latency_ms": {"onnxruntime:cpu": latency},
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    speedup = {"onnxruntime:cpu": {"ratio": 1.6, "low": 1.5, "high": 1.7}}
    bench = {
        "environment": {"cpu": "test <cpu>"},
        "dense": side(2e9, 81.4, 8.0),
        "pruned": side(1e9, 80.9, 5.0),
        "speedup": speedup,
        "skipped": {"torch:cuda": "no GPU here"},
    }
    write_json(tmp_path / "bench.json", "bench", bench)
    group = {"name": "blocks.0.mlp.hidden", "kind": "mlp_hidden", "units": 8}
    write_json(tmp_path / "groups.json", "groups", {"groups": [group]})
    plan = {"kept": {"blocks.0.mlp.hidden": [0, 1, 5]}, "notes": {"macs": 1e9, "macs_dense": 2e9}}
    write_json(tmp_path / "plan.json", "plan", plan)
    recipe = {
        "model": {"name": "deit"},
        "budget": {"macs": 0.5, "params": None},
        "score": {"method": "taylor"},
        "plan": {"allocate": "global", "align": 8},
        "recover": {"compensate": True, "ridge": 1e-3},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return tmp_path


def test_the_page_is_whole_and_loads_nothing(folder: Path) -> None:
    written = write_report(folder)
    assert written == ["report.html", "report.md", "figures/kept_units.png", "figures/latency.png"]
    page = (folder / "report.html").read_text()
    links: list[str] = []
    open_tags: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            links.extend(value or "" for key, value in attrs if key in ("src", "href"))
            if tag not in ("meta", "img", "br", "link"):
                open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

    Reader().feed(page)
    assert not open_tags
    assert len(links) == 2
    assert all(link.startswith("data:image/png;base64,") for link in links)
    for words in ("81.40 %", "-0.50 points", "50.0% of dense", "1.60x faster [1.50, 1.70]", "test &lt;cpu&gt;"):
        assert words in page
    assert '<td class="change worse">-0.50 points</td>' in page
    assert '<td class="change">50.0% of dense</td>' in page
    assert "Not measured: torch:cuda: no GPU here" in page


def test_the_summary_holds_the_same_rows(folder: Path) -> None:
    write_report(folder)
    summary = (folder / "report.md").read_text()
    for row in table_of(folder):
        assert f"| {row['name']} | {row['dense']} | {row['pruned']} | {row['change']} |" in summary
    assert "| blocks.0.mlp.hidden | mlp_hidden | 8 | 3 |" in summary


def test_a_latency_that_was_planned_is_shown_beside_what_was_measured(folder: Path) -> None:
    write_report(folder)
    assert "planned latency" not in (folder / "report.md").read_text()
    for name, part in (("plan.json", {"notes": {"budget": "latency", "cost": 4.875}}), ("recipe.yaml", {})):
        content = yaml.safe_load((folder / name).read_text())
        content |= {"budget": {"latency": 0.6, "target": "onnxruntime:cpu"}} if name == "recipe.yaml" else {}
        content["notes"] = {**content.get("notes", {}), **part.get("notes", {})}
        (folder / name).write_text(json.dumps(content))
    write_report(folder)
    assert "4.875 ms on onnxruntime:cpu" in (folder / "report.md").read_text()


def test_the_same_run_gives_the_same_report(folder: Path) -> None:
    write_report(folder)
    first = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    write_report(folder)
    assert first == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_slowdown_is_called_one() -> None:
    bench = {"dense": side(2e9, 80, 5.0), "pruned": side(1e9, 80, 8.0)}
    row = rows_of({**bench, "speedup": {"onnxruntime:cpu": {"ratio": 0.62, "low": 0.6, "high": 0.64}}})[-1]
    assert (row.change, row.worse) == ("1.61x slower [1.56, 1.67]", True)


def test_fidelity_is_shown_with_its_numbers(folder: Path) -> None:
    example = Example(1, 3, torch.rand(3, 4, 4), torch.rand(2, 2), torch.rand(2, 2), 0.5, 0.4)
    written = write_report(folder, Fidelity((0.9, 0.5), (0.8, 0.4), (example,)))
    assert {"figures/evidence.png", "fidelity.json"} < set(written)
    assert "cosine 0.70, rank 0.60 on 2 images" in (folder / "report.html").read_text()
    assert "(figures/evidence.png)" in (folder / "report.md").read_text()
    content = json.loads((folder / "fidelity.json").read_text())
    assert content["schema"] == "secateur.fidelity/1"
    assert (content["cosine"], content["rank"]) == ([0.9, 0.5], [0.8, 0.4])
    assert (content["mean_cosine"], content["mean_rank"]) == pytest.approx((0.7, 0.6))
    assert content["examples"] == [{"index": 1, "explained": 3}]


def test_class_wise_scores_are_shown_with_the_units_of_one_class(folder: Path) -> None:
    scores = torch.ones(3, 8)
    scores[:, 2] = torch.tensor([0.1, 9.0, 0.2])
    Scores({"blocks.0.mlp.hidden": scores}, "xmask").save(folder / "scores.safetensors")
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "classes": ["ant", "bee", "cat"]}))
    written = write_report(folder, None, ("ant", "bee", "cat"))
    assert "figures/classes.png" in written
    page, summary = (folder / "report.html").read_text(), (folder / "report.md").read_text()
    assert "Which heads serve which classes" in page
    assert "| bee | 1 | blocks.0.mlp.hidden[2] |" in summary
    assert "* classes: ant, bee, cat" in summary
    assert "<td>blocks.0.mlp.hidden[2]</td>" in page


@pytest.mark.parametrize(
    ("recover", "words"),
    [
        ({"compensate": False, "ridge": None}, "none"),
        ({"compensate": True, "ridge": None, "distill": {"epochs": 0}}, "ridge compensation (chosen for each layer)"),
        (
            {"compensate": True, "ridge": 0.01, "distill": {"epochs": 2, "labels": 0.5}},
            "ridge compensation (0.01), then 2 epochs of distillation, 50% of it on labels",
        ),
        (
            {"compensate": False, "distill": {"epochs": 1, "labels": 0.0}},
            "1 epoch of distillation, 0% of it on labels",
        ),
    ],
)
def test_the_recovery_is_told(folder: Path, recover: dict[str, Any], words: str) -> None:
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "recover": recover}))
    write_report(folder)
    assert f"* recovery: {words}\n" in (folder / "report.md").read_text()
