"""The package itself: light to import, with one list of public names that type checkers see too."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import secateur

HEAVY = {
    "torch",
    "timm",
    "numpy",
    "scipy",
    "onnx",
    "optuna",
    "sqlalchemy",
    "matplotlib",
    "pydantic",
    "yaml",
    "accelerate",
}
MODULES = 250
"""A bare command line loads about 200 with rich (50 of them are Python's own), torch 1,500."""


def loaded(code: str) -> set[str]:
    """The modules that are loaded after some code has run in a fresh interpreter."""
    code = f"import sys, json\n{code}\nprint(json.dumps(list(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr))


@pytest.mark.parametrize("words", [None, ["--help"], ["run", "--help"], ["bench", "--help"], ["recover", "--help"]])
def test_importing_and_asking_for_help_load_little(words: list[str] | None) -> None:
    ask = f"from secateur.pipeline.cli import cli\ncli.main({words}, standalone_mode=False)" if words else ""
    found = loaded(f"import secateur\n{ask}")
    assert not found & HEAVY
    assert len(found) < MODULES


def test_a_name_loads_what_it_needs_and_no_more() -> None:
    assert "torch" not in loaded("from secateur import SecateurError")
    assert "secateur.pipeline.data.loader" in loaded("from secateur import Loader")


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(str(secateur.__file__)).read_text(encoding="utf-8"))
    seen = {
        (name.name, str(node.module))
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("secateur.")
        for name in node.names
        if name.name != "__version__"
    }
    assert seen == {(name, f"secateur.{place}") for name, place in secateur._PLACES.items()}


def test_every_public_name_is_there_and_comes_from_secateur() -> None:
    for name in secateur.__all__:
        thing = getattr(secateur, name)
        if name != "__version__":
            assert thing.__module__.startswith("secateur."), name
            assert thing.__doc__, name
    assert set(secateur.__all__) == set(dir(secateur))


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'prunes'"):
        _ = secateur.prunes
