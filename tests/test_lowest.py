"""The lowest versions that are tested are those that pyproject.toml allows."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest


def lowest() -> ModuleType:
    """The module .ci/lowest.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("lowest", ".ci/lowest.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_constraints_are_those_of_pyproject() -> None:
    assert Path(".ci/lowest.txt").read_text() == lowest().constraints(), "run `python -P .ci/lowest.py`"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["torch>=2.11"], "torch==2.11\n"),
        (["psycopg[binary]>=3.1.4"], "psycopg==3.1.4\n"),
        (['backports.zstd>=1.0; python_version < "3.14"'], 'backports.zstd==1.0; python_version < "3.14"\n'),
        (["b>=2,<3", "A>=1"], "a==1\nb==2\n"),
    ],
)
def test_a_constraint_is_the_lowest_version(words: list[str], line: str, tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(f"[project]\ndependencies = {words!r}\n[project.optional-dependencies]\ncpu = []\ndev = []\n")
    assert lowest().constraints(path) == line


def test_what_names_no_lowest_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text("[project]\ndependencies = []\n[project.optional-dependencies]\ncpu = ['x']\ndev = []\n")
    with pytest.raises(ValueError, match=r"x names no lowest version: write x>=VERSION"):
        lowest().constraints(path)


def test_the_nightly_workflow_runs_targets_that_there_are() -> None:
    asked = re.findall(r"make ([\w-]+)", Path(".github/workflows/nightly.yml").read_text())
    targets = re.findall(r"^([\w-]+):", Path("Makefile").read_text(), re.MULTILINE)
    assert {"test-lowest", "audit-lowest"} <= set(asked) <= set(targets)
