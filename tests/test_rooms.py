"""Rooms import only the rooms below them: the contract holds, and an arrow that leads up breaks it, however written."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULE = Path("secateur/pipeline/data/planted.py")
PLANTED = {
    "at module level": "from secateur.pipeline.runs.recipe import Recipe\n",
    "as a whole": "import secateur.pipeline.runs.recipe\n",
    "within a function": "def late() -> None:\n    from secateur.pipeline.runs import recipe\n",
    "for the type checker": (
        "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from secateur.pipeline.runs.recipe import Recipe\n"
    ),
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages as they are installed."""
    folder = tmp_path_factory.mktemp("house")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-dir"]
    for package, source in settings.items():
        for path in (ROOT / source).rglob("*.py"):
            target = folder / package.replace(".", "/") / path.relative_to(ROOT / source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    shutil.rmtree(folder / "secateur" / "benchmarks" / "studies")  # it is a package of its own: `secateur_studies`
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def contract(folder: Path) -> subprocess.CompletedProcess[str]:
    """What import-linter says of the packages in a folder."""
    command = [sys.executable, "-P", "-c", "from importlinter.cli import lint_imports_command as main; main()"]
    return subprocess.run([*command, "--no-cache", "--no-logo"], cwd=folder, capture_output=True, text=True)


def test_the_contract_holds(house: Path) -> None:
    done = contract(house)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


@pytest.mark.parametrize("way", list(PLANTED))
def test_an_arrow_that_leads_up_breaks_it(house: Path, way: str) -> None:
    planted = house / MODULE
    planted.write_text(PLANTED[way])
    try:
        done = contract(house)
    finally:
        planted.unlink()
    assert done.returncode == 1
    assert "secateur.pipeline.data.planted -> secateur.pipeline.runs.recipe" in done.stdout


def test_a_part_that_is_no_room_breaks_it(house: Path) -> None:
    planted = house / "secateur" / "pipeline" / "attic" / "__init__.py"
    planted.parent.mkdir()
    planted.touch()
    try:
        done = contract(house)
    finally:
        shutil.rmtree(planted.parent)
    assert done.returncode == 1
    assert "attic" in done.stdout


def test_no_import_is_excepted() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert settings.get("exclude_type_checking_imports", False) is False
    for found in settings["contracts"]:
        assert not found.get("ignore_imports") and found["type"] == "layers"
