"""The examples in the docstrings of all public names, and the one of the README: they run, and print what they say."""

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
from secateur.pipeline.models.create import create_model

README = Path(__file__).parents[1] / "README.md"
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


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_an_example_that_runs(name: str, walk: dict[str, Any]) -> None:
    if (package := NEEDS.get(name)) and find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    thing = getattr(secateur, name)
    run(str(thing.__doc__), name, {**vars(sys.modules[thing.__module__]), **walk})


def test_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a small model of the same family in place of DeiT-Tiny; the engine is built where its runtime is."""
    from safetensors.torch import save_file

    monkeypatch.chdir(tmp_path)
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 4}
    save_file(create_model("deit_tiny_patch16_224", **sizes).state_dict(), tmp_path / "deit_tiny.safetensors")
    named = 'create_model("deit_tiny_patch16_224"'
    code = README.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    assert named in code
    code = code.replace(named, f"{named}, **sizes")
    if find_spec("tensorrt_rtx") is None:
        code = "\n".join(line for line in code.splitlines() if "build_engine" not in line)
    loader = [(torch.randn(8, 3, 32, 32), torch.arange(8) % 4)]
    names: dict[str, Any] = {"example_input": torch.zeros(1, 3, 32, 32), "loader": loader, "sizes": sizes}
    exec(compile(code, str(README), "exec"), names)
    assert (tmp_path / "model.onnx").is_file()
    assert names["small"](names["example_input"]).shape == (1, 4)
    assert sum(p.numel() for p in names["small"].parameters()) < sum(p.numel() for p in names["model"].parameters())
