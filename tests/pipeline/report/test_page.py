"""Pages in Chromium: whole on a phone and on a desk, light and dark, named, silent, and deaf to hostile names."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch

from secateur.benchmarks.bootstrap import Interval
from secateur.benchmarks.gating.matched_pairs import Pairs
from secateur.benchmarks.keys import TOP1
from secateur.benchmarks.results_file import Compared
from secateur.pipeline.analysis.fidelity import Example, Fidelity
from secateur.pipeline.report.fidelity_of_run import Maps
from secateur.pipeline.report.page import short
from secateur.pipeline.report.sweep_page import write_sweep_page
from secateur.pipeline.report.write import write_report
from secateur.pipeline.scores.score import Scores
from tests.export.test_artefacts import EXPORTED
from tests.hostile import HOSTILE, TAGS
from tests.pipeline.report.chromium import Seen, look
from tests.pipeline.report.findings import CPU, findings, row, swept
from tests.pipeline.report.test_energy_table import CONDITIONS
from tests.pipeline.report.test_graph_tables import ENGINE
from tests.pipeline.report.test_layer_times import PROFILE


@pytest.fixture(scope="module")
def asked() -> Iterator[tuple[str, list[str]]]:
    """The address of a server, and the paths that it was asked for."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_error(404)

        def log_message(self, *words: object) -> None:
            """Says nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/x", paths
    server.shutdown()
    thread.join()


@pytest.fixture(scope="module")
def seen(asked: tuple[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """A run's page and a sweep's, full of hostile names."""
    folder = tmp_path_factory.mktemp("pages")
    names = tuple(name.replace("URL", asked[0]) for name in HOSTILE)
    groups = [row(f"blocks.{number}.{name}", "mlp_hidden", 30) for number, name in enumerate(names)]
    kept = {group.name: tuple(range(number % 30)) for number, group in enumerate(groups)}
    found = findings()
    example = Example(1, 1, torch.rand(3, 8, 8), torch.rand(2, 2), torch.rand(2, 2), 0.5, 0.4)
    speeds = {CPU: Interval(1.6, 1.5, 1.7)}
    by_class = {name: Pairs(10, 8, 1, 0) for name in names}
    bench = replace(
        found.bench,
        speedup=speeds,
        skipped={name: name for name in names},
        notes=names,
        command=names[0],
        conditions={CPU: CONDITIONS},
        metric=Compared(TOP1, 80.0, 70.0, by_class=by_class),
    )
    engine = replace(ENGINE, layers=tuple(replace(ENGINE.layers[0], name=name, kind=name) for name in names))
    found = replace(
        found,
        folder=folder / names[1].replace("/", ":"),
        recipe=replace(found.recipe, model=replace(found.recipe.model, name=names[0], weights=names[1])),
        groups=replace(found.groups, groups=tuple(groups), one_size=names, uncounted=names),
        scores=Scores({group.name: torch.rand(len(names), 30) for group in groups}, names[3]),
        plan=replace(found.plan, kept=kept),
        bench=bench,
        classes=names,
        maps=Maps(Fidelity((0.5,), (0.5,), (example,)), names[0], names[1]),
        graphs=dict(zip(names, EXPORTED.files.values(), strict=False)),
        engines=dict.fromkeys(names[:4], engine),
        not_built={name: name for name in names},
        layers=replace(PROFILE, rows=tuple(replace(PROFILE.rows[1], name=name, reason=name) for name in names)),
    )
    write_report(folder, found)
    (folder / "sweep").mkdir()
    points = [
        replace(swept().points[number % 2], budget=1 / (2 + number), run=name) for number, name in enumerate(names)
    ]
    replace(swept(), points=tuple(points)).save(folder / "sweep" / "sweep.json")
    write_sweep_page(folder / "sweep")
    return look(folder, ("report.html", "sweep/report.html"))


def test_nothing_hostile_runs_asks_or_complains(seen: Seen, asked: tuple[str, list[str]]) -> None:
    assert len(HOSTILE) > 40
    assert len(seen.pages) == 4
    assert not any(found["pwned"] for found in seen.pages)
    assert asked[1] == []
    assert seen.console == []


def test_hostile_names_are_shown_as_they_are(seen: Seen, asked: tuple[str, list[str]]) -> None:
    """And make no element: `<plaintext>` alone would show all that follows as it is."""
    made = {"script", "iframe", "form", "object", "embed", "video", "link", "plaintext", "base"}
    for found in seen.pages:
        assert not made.intersection(found["tags"]), found["page"]
        for name in TAGS:
            assert name.replace("URL", asked[0]) in found["text"], (found["page"], name)


def test_pages_are_no_wider_than_a_phone_or_a_desk(seen: Seen) -> None:
    for found in seen.pages:
        assert (found["inner"], found["wide"]) == (found["width"], [])
        assert found["scroll"] <= found["width"]


def test_pages_are_light_and_dark_and_readable_in_both(seen: Seen) -> None:
    for found in seen.pages:
        assert found["colours"] == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 28)"}
        assert all(contrast >= 4.5 for contrast in found["contrast"].values()), found["contrast"]  # WCAG 2.2, AA


def test_drawings_have_names_and_layers_open_their_tip_by_the_keyboard(seen: Seen) -> None:
    for found in seen.pages:
        assert (found["unnamed"], found["broken"]) == ([], 0)
    assert [(one["tip"], one["focused"]) for one in seen.pages if one["page"] == "report.html"] == [("block", True)] * 2


def test_the_page_follows_the_system_until_it_is_told_otherwise(tmp_path: Path) -> None:
    write_report(tmp_path, findings())
    page = (tmp_path / "report.html").read_text()
    assert "color-scheme: light dark;" in page
    assert 'name="theme" id="auto" checked' in page


@pytest.mark.parametrize(("number", "word"), [(0.0, "0"), (100.0, "100"), (12.345, "12.35"), (0.5, "0.5")])
def test_places_are_short(number: float, word: str) -> None:
    assert short(number) == word
