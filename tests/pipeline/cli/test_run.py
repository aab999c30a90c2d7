"""`secateur run`: what it shows of a run that is done, and when it may change one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from secateur.core.errors import RunError
from secateur.pipeline.runs.manifest import read_manifest
from tests.pipeline.cli.conftest import Command

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="the run leaves torch:cuda out, which is here")


@pytest.fixture
def done(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The finished run, as that of `half.yaml`, in a working folder of its own."""
    shutil.copytree(finished, tmp_path / "runs" / "half")
    shutil.copyfile(finished / "recipe.yaml", tmp_path / "half.yaml")
    monkeypatch.chdir(tmp_path)
    return Path("runs/half")


def test_a_finished_run_is_shown_and_not_repeated(done: Path, secateur: Command) -> None:
    before = read_manifest(done)
    said = secateur("run", "half.yaml")
    assert read_manifest(done) == before
    for words in ("top-1 accuracy", "MACs", "latency torch:cpu (p50)", f"report: {done / 'report.html'}"):
        assert words in said.stdout
    assert "not measured: torch:cuda: " in said.stdout
    assert "not built: torch:cpu: " in said.stderr


def test_json(done: Path, secateur: Command) -> None:
    content = json.loads(secateur("run", "half.yaml", "--json").stdout)
    assert (content["run"], content["report"]) == (str(done), str(done / "report.html"))
    assert [row["name"] for row in content["table"]][:2] == ["top-1 accuracy", "MACs"]


def test_another_recipe_does_not_change_a_run_unless_it_may(done: Path, secateur: Command) -> None:
    recipe = (done / "recipe.yaml").read_bytes()
    with pytest.raises(RunError, match=r"bench\.seconds differ"):
        secateur("run", "half.yaml", "--set", "bench.seconds=0.05")
    assert (done / "recipe.yaml").read_bytes() == recipe
    secateur("run", "half.yaml", "--set", "bench.seconds=0.05", "--update")
    assert (done / "recipe.yaml").read_bytes() != recipe


def test_a_run_goes_where_it_is_told(done: Path, secateur: Command) -> None:
    shutil.move(done, "elsewhere")
    assert "report: elsewhere/report.html" in secateur("run", "half.yaml", "--out", "elsewhere").stdout
    assert not done.exists()
