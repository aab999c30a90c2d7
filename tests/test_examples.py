"""The examples in the docstrings of all public names: they run, and print what they say."""

from __future__ import annotations

import doctest
import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

import secateur
from tests.later import mostly_nightly

NAMES = [name for name in secateur.__all__ if name != "__version__"]
NEEDS = {"build_engine": "onnxruntime", "check_parity": "onnxruntime", "open_engine": "onnxruntime"}
"""The optional package without which an example cannot run."""


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The names that the package's own example leaves, in an empty working folder."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("examples"))
    torch.manual_seed(0)
    names: dict[str, Any] = {}
    run(str(secateur.__doc__), "secateur", names)
    yield names
    os.chdir(before)


def run(docstring: str, name: str, names: dict[str, Any]) -> None:
    """Runs the examples of a docstring, which see `names` and add to them."""
    test = doctest.DocTestParser().get_doctest(docstring, names, name, None, 0)
    assert test.examples, f"{name} has no example in its docstring"
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=said.append, clear_globs=False)
    names.update(test.globs)
    assert runner.failures == 0, "".join(said)


LONG = ("reconstruct", "Limit", "quantize_onnx", "export_onnx", "check_parity", "sweep", "GraphJudge", "build_engine")


@pytest.mark.parametrize("name", mostly_nightly(NAMES, [name for name in NAMES if name not in LONG]))
def test_every_public_name_has_an_example_that_runs(name: str, walk: dict[str, Any]) -> None:
    if (package := NEEDS.get(name)) and find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    thing = getattr(secateur, name)
    run(str(thing.__doc__), name, {**vars(sys.modules[thing.__module__]), **walk})
