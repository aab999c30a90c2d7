"""`secateur report`: earlier stages are done only when that is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from secateur.core.errors import RunError
from secateur.pipeline.runs.manifest import read_manifest
from tests.pipeline.cli.conftest import Command

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="the run leaves torch:cuda out, which is here")


def test_a_run_that_is_up_to_date_has_its_report(run: Path, secateur: Command) -> None:
    before = read_manifest(run)
    (run / "report.md").unlink()
    assert str(run / "report.md") in secateur("report", run).stdout.split()
    assert (run / "report.md").is_file()
    after = read_manifest(run)
    assert {name: entry for name, entry in after.items() if name != "report"} == {
        name: entry for name, entry in before.items() if name != "report"
    }


def test_what_is_missing_is_done_only_when_that_is_asked_for(run: Path, secateur: Command) -> None:
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    setting = ("--set", "bench.seconds=0.05")
    with pytest.raises(RunError, match=r"is not up to date \(build: .*\): give --all to do what is missing"):
        secateur("report", run, *setting)
    with pytest.raises(RunError, match=r"plan: .*, and \d more\): give --all"):
        secateur("report", run, "--set", "budget.macs=0.65")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == files
    secateur("report", run, "--all", *setting)
    assert (run / "bench.json").read_bytes() != files[run / "bench.json"]
