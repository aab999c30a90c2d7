"""The runner as a package of its own: what it imports, the oldest Python that reads it, and its commands."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from secateur.export import runner
from secateur.export.runner import __main__ as commands
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
    call = [sys.executable, "-B", "-c", code, *map(str, words)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
    return subprocess.run(call, cwd=bundle, env=environment, capture_output=True, text=True)


@needs_ort
def test_its_commands_inside_a_bundle(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
    words = ["bench", "--bundle", str(bundle), "--seconds", "0.01", "--batch", "2", "--out", str(tmp_path / "b.json")]
    assert main(words) == 0 and "times as fast" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "b.json").read_text())["samples_ns"]["dense"]) >= 20


def test_what_it_refuses(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bundle / "extra").touch()
    assert main(["verify", str(bundle)]) == 2
    assert capsys.readouterr().err == "bundle_runner: extra is in the folder, but MANIFEST.json does not list it\n"
    assert main(["verify", str(bundle), "--target", "\x1b[2J"]) == 2
    for words in (
        *([], ["bench", "--bundle", "x", "--batch", "0"], ["verify"], ["verify", "x", "--threads", "100000"]),
        *(["verify", "x", "--seconds", number] for number in ("nan", "inf", "-1", "0")),
    ):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
    assert "is not from 1 to" in capsys.readouterr().err


@needs_ort
def test_an_answer_that_cannot_be_written_is_no_verdict(
    made_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = ["bench", "--bundle", str(made_bundle), "--seconds", "0.01", "--out"]
    for place, words in ((tmp_path, "Is a directory"), (tmp_path / "a" / "b.json", "No such file")):
        assert main([*timed, str(place)]) == 2
        assert words in capsys.readouterr().err

    full = Path("/dev/full").open("w")  # noqa: SIM115  # closing it fails as writing does
    monkeypatch.setattr(sys, "stdout", full)
    assert main(["verify", str(made_bundle), "--no-latency"]) == 2
    assert sys.stdout.name == os.devnull  # so that the end of the program says nothing more
    monkeypatch.undo()
    with pytest.raises(OSError, match="No space left"):
        full.close()
    assert capsys.readouterr().err == "bundle_runner: cannot read or write here: No space left on device\n"


def test_an_interrupted_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*words: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "verify", interrupted)
    assert main(["verify", "x"]) == 130
    assert capsys.readouterr().err == "bundle_runner: interrupted\n"


def test_a_name_of_a_class_commands_no_terminal(
    made_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = [{"class": "\x1b[2Jcat\nnot here", "probability": 0.5}]
    monkeypatch.setattr(commands, "infer", lambda *words: {"top": [row], "outputs": {}})
    assert main(["infer", "x", "--bundle", str(made_bundle)]) == 0
    assert capsys.readouterr().out == "  50.00%  \\x1b[2Jcat\\nnot here\n"
    monkeypatch.setattr(commands, "infer", lambda *words: {"values": [[{"name": "age", "value": 41.5}]], "outputs": {}})
    assert main(["infer", "x", "--bundle", str(made_bundle)]) == 0
    assert capsys.readouterr().out == "        41.5  age\n"


@needs_ort
def test_what_the_model_says_of_a_picture(made_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["infer", str(made_bundle / "golden" / "image.0.png"), "--bundle", str(made_bundle), "--top", "1"]
    assert main(words) == 0
    assert capsys.readouterr().out.split()[-1] in ("cat", "dog", "eel")
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "secateur.infer/1"
