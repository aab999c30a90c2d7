"""`secateur bundle`: what it writes and prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from secateur.core.errors import RunError
from secateur.export.bundle.make import write_bundle
from secateur.pipeline.runs import bundle_run as module
from tests.export.small_bundle import make_contents
from tests.pipeline.cli.conftest import Command


@pytest.fixture
def packs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A run, whose bundle is that of the linear model."""
    monkeypatch.setattr(module, "bundle_run", lambda folder, out, **options: write_bundle(make_contents(tmp_path), out))
    (tmp_path / "half").mkdir()
    return tmp_path / "half"


def test_what_it_writes_and_prints(secateur: Command, packs: Path) -> None:
    done = secateur("bundle", packs)
    assert done.exit_code == 0
    path = packs.with_name("half.tar.zst")
    assert f"{path}: " in done.output and "engines for tensorrt_rtx:sm_86, onnxruntime:cpu" in done.output
    assert path.is_file()


def test_a_run_in_the_working_folder_is_packed_beside_it(
    secateur: Command, packs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(packs)
    assert secateur("bundle", ".").exit_code == 0
    assert packs.with_name("half.tar.zst").is_file() and not list(packs.iterdir())


def test_json(secateur: Command, packs: Path, tmp_path: Path) -> None:
    content = json.loads(secateur("bundle", packs, "--out", tmp_path / "b", "--json").output)
    assert (content["out"], content["model"]) == (str(tmp_path / "b"), "linear")
    assert (tmp_path / "b" / "MANIFEST.json").is_file()


def test_a_run_in_which_nothing_was_done(secateur: Command, run_dir: Path) -> None:
    with pytest.raises(RunError, match="is not up to date"):
        secateur("bundle", run_dir)
