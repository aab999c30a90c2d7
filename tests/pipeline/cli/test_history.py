"""`secateur history`: add, show and export."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from secateur.benchmarks.history.store import add_entry, read_history
from secateur.core.errors import BenchError, SecateurError
from secateur.pipeline.cli import cli
from tests.benchmarks.history.entries import entries, stepped
from tests.benchmarks.samples import result

pytest.importorskip("ruptures", reason="ruptures is not installed")


def run(*words: object) -> Result:
    done = CliRunner().invoke(cli, ["history", *map(str, words)])
    if done.exception is not None and not isinstance(done.exception, SystemExit | SecateurError):
        raise done.exception
    return done


@pytest.fixture(scope="module")
def trend(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("history")
    for entry in (*entries(stepped()), *entries(stepped(1.0), "speedup", "other")):
        add_entry(entry, folder)
    return folder


def test_a_result_is_added_by_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result().save(tmp_path / "half run" / "bench.json")
    words = ("--to", tmp_path / "history", "--commit", "abc1234")
    done = run("add", tmp_path / "half run" / "bench.json", *words, "--machine", "ci")
    path = tmp_path / "history" / "ci" / "half-run" / "abc1234.json"
    assert done.output.split() == f"added: {path}".split() and path.exists()
    assert run("add", tmp_path / "half run" / "bench.json", *words, "--machine", "ci").output.startswith(
        "already there"
    )
    result(speedup=1.4).save(tmp_path / "bench.json")
    other = run("add", tmp_path / "bench.json", *words, "--machine", "ci", "--name", "half-run")
    assert isinstance(other.exception, BenchError)
    run("add", tmp_path / "bench.json", *words, "--name", "half")
    assert {(one.name, one.commit) for one in read_history([tmp_path / "history"])} == {
        ("half-run", "abc1234"),
        ("half", "abc1234"),
    }
    monkeypatch.chdir(tmp_path)
    assert "name the commit" in str(run("add", tmp_path / "bench.json", "--to", "history").exception)


def test_the_trend_is_shown_with_its_changes(trend: Path, tmp_path: Path) -> None:
    done = run(trend)
    lines = [line for line in done.output.splitlines() if "half: " in line]
    assert len(lines) == 2 and f"{12:02x}{12:038x}"[:7] in done.output
    assert "+30" in done.output and "(worse)" in done.output and "▁" in done.output and "none" in done.output
    content = json.loads(run("--measure", "pruned p50", trend, "--out", tmp_path / "trend.html", "--json").output)
    (line,) = content["lines"]
    assert (content["schema"], len(line["values"]), line["changes"][0]["place"]) == ("secateur.trends/1", 20, 12)
    assert (tmp_path / "trend.html").read_text().startswith("<!doctype html>")
    assert "has no energy: it has pruned p50, speedup" in str(run("show", trend, "--measure", "energy").exception)
    assert isinstance(run(tmp_path / "none").exception, SecateurError)


def test_both_exports_are_written(trend: Path, tmp_path: Path) -> None:
    assert (
        run("export", trend, "--as", "asv", "--out", tmp_path / "results").output
        == f"written: {tmp_path / 'results'}\n"
    )
    assert len(list((tmp_path / "results").rglob("*.json"))) == 43
    run("export", trend, "--as", "github-action-benchmark", "--out", tmp_path / "output.json")
    assert len(json.loads((tmp_path / "output.json").read_text())) == 2
    assert run("export", trend, "--as", "csv", "--out", "x").exit_code == 2
