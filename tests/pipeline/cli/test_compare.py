"""`secateur compare`: runs side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from secateur.core.errors import BenchError, RunError
from tests.benchmarks.samples import result
from tests.pipeline.cli.conftest import Command


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result(1.5).save(Path("half/bench.json"))
    result(0.7, top1=(82.0, 70.0)).save(Path("third/bench.json"))


def test_the_table_has_a_column_for_each_run(secateur: Command) -> None:
    said = secateur("compare", "half", "third").stdout
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.splitlines() if "│" in line]
    top1 = next(cells for cells in lines if cells[0].startswith("top-1"))
    assert top1[1].startswith("82.00 %") and top1[2].startswith("81.00 %") and top1[3].startswith("70.00 %")
    assert "48.0% of dense" in " ".join(said.split())


def test_the_picture_goes_where_it_is_told_and_json_to_stdout(secateur: Command) -> None:
    found = json.loads(secateur("compare", "half", "third", "--picture", "x.png", "--json").stdout)
    assert found["runs"] == ["half", "third"]
    assert found["quantities"][0]["runs"][1]["pruned"].startswith("70.00 %")
    assert Path("x.png").is_file()


def test_what_cannot_be_compared_is_refused_and_draws_nothing(secateur: Command) -> None:
    for words, error in ((("half",), BenchError), (("half", "absent"), RunError)):
        with pytest.raises(error):
            secateur("compare", *words, "--picture", "x.png")
    with pytest.raises(BenchError, match=r"--picture got x\.gif, but draws a \.png file"):
        secateur("compare", "half", "third", "--picture", "x.gif")
    assert not [*Path().glob("x.*")]
