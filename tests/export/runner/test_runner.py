"""The runner as a package of its own: what it imports, the oldest Python that reads it, and its commands."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from secateur.export import runner
from secateur.export.runner.__main__ import main
from tests.export.conftest import needs_ort

FILES = sorted(Path(runner.__path__[0]).rglob("*.py"))
OTHERS = {"numpy", "PIL", "backports", "compression"}
"""What the runner may import besides the standard library, at the place where it needs it."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_is_readable_by_python_3_8_and_knows_nothing_of_secateur(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [str(node.module)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names | OTHERS, ast.unparse(node)


def run(bundle: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """The runner inside a bundle, in which neither secateur nor torch can be imported."""
    code = (
        "import runpy, sys\n"
        "for name in ('secateur', 'torch', 'timm', 'onnx', 'scipy'): sys.modules[name] = None\n"
        "sys.argv[0] = 'bundle_runner'\n"
        "runpy.run_module('bundle_runner', run_name='__main__')"
    )
    return subprocess.run(
        [sys.executable, "-B", "-c", code, *map(str, words)], cwd=bundle, capture_output=True, text=True
    )


@needs_ort
def test_its_commands_inside_a_bundle(bundle: Path, tmp_path: Path) -> None:
    done = run(bundle, "verify", "--target", "onnxruntime:cpu", "--seconds", 0.01, "--json")
    content: dict[str, Any] = json.loads(done.stdout)
    assert (content["exit_code"], content["outcome"]) == (
        done.returncode,
        {0: "pass", 1: "fail", 3: "inconclusive"}[done.returncode],
    )
    assert [check["name"] for check in content["checks"]] == [
        "checksums",
        "engine",
        "preprocessing",
        "golden",
        "latency",
    ]
    done = run(bundle, "bench", "--seconds", 0.01, "--batch", 2, "--out", tmp_path / "b.json")
    assert done.returncode == 0 and "times as fast" in done.stdout
    assert len(json.loads((tmp_path / "b.json").read_text())["samples_ns"]["dense"]) >= 20


def test_what_it_refuses(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bundle / "extra").touch()
    assert main(["verify", str(bundle)]) == 2
    assert capsys.readouterr().err == "bundle_runner: extra is in the folder, but MANIFEST.json does not list it\n"
    for words in ([], ["bench", "--bundle", "x", "--batch", "0"], ["verify"]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
    assert "is not 1 or more" in capsys.readouterr().err


@needs_ort
def test_what_the_model_says_of_a_picture(made_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["infer", str(made_bundle / "golden" / "image.0.png"), "--bundle", str(made_bundle), "--top", "1"]
    assert main(words) == 0
    assert capsys.readouterr().out.split()[-1] in ("cat", "dog", "eel")
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "secateur.infer/1"
