"""`secateur serving`: what it hands over and prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from secateur.core.errors import RunError
from secateur.pipeline.runs import serving_run as module
from secateur.pipeline.runs.serving_run import Served
from tests.pipeline.cli.conftest import Command


def test_what_it_hands_over_and_prints(secateur: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    served = Served(("triton/half_onnx/config.pbtxt",), {"deepstream: bf16": "a reason"})
    monkeypatch.setattr(module, "serving_run", lambda *arguments: given.append(arguments) or served)
    done = secateur("serving", tmp_path / "half")
    assert done.exit_code == 0
    place = tmp_path / "half" / "serving"
    assert done.output == f"{place}/triton/half_onnx/config.pbtxt\nleft out: deepstream: bf16: a reason\n"
    content = json.loads(
        secateur("serving", tmp_path / "half", "--out", "o", "--name", "n", "--batch", 2, "--json").output
    )
    assert (content["schema"], content["files"]) == ("secateur.serving/1", list(served.files))
    assert given == [(tmp_path / "half", place, "half", 8), (tmp_path / "half", Path("o"), "n", 2)]


def test_a_run_in_which_nothing_was_done(secateur: Command, run_dir: Path) -> None:
    with pytest.raises(RunError, match="is not up to date"):
        secateur("serving", run_dir)


def test_a_file_where_the_folder_is_to_be(secateur: Command, run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "model.zip").touch()
    done = secateur("serving", run_dir, "--out", tmp_path / "model.zip")
    assert done.exit_code == 2 and "is a file" in done.output
