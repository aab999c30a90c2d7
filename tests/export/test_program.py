"""Programs without classes: written, loaded in another process, refused where they would run code."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateur.core.errors import ExportError
from secateur.export.program import load_program, save_program
from tests.forked import finished, started
from tests.signatures import towers, towers_inputs

AGAIN = """
import sys, torch
from secateur.export.program import load_program
inputs, expected = torch.load(expected, weights_only=True)
found = load_program(path)(**inputs)
assert "tests" not in sys.modules and found["note"] is None
found = [found["image"], found["text"]["text"], found["similarity"]]
for one, two in zip(found, expected, strict=True):
    torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)
"""


def test_a_program_gives_the_same_in_another_process_at_another_batch(tmp_path: Path) -> None:
    model, inputs = towers().train(), towers_inputs(7)
    path = save_program(model, towers_inputs(), tmp_path / "towers.pt2")
    assert model.training and not model._forward_hooks
    found = model.eval()(**inputs)
    torch.save((inputs, [found.image, found.text["text"], found.similarity]), tmp_path / "expected.pt")
    assert finished(started(AGAIN, path=path, expected=tmp_path / "expected.pt")) == [0]
    with zipfile.ZipFile(path) as archive:
        assert str(Path(__file__).parent).encode() not in archive.read("archive/models/model.json")


def test_a_program_of_half_precision_keeps_it(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 3)).to(torch.bfloat16)
    x = torch.randn(5, 4, dtype=torch.bfloat16)
    found = load_program(save_program(model, x, tmp_path / "half.pt2"))(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, model(x))


class _Fixed(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.reshape(2, 4))


class _Branch(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) if float(input.sum()) > 0 else input


@pytest.mark.parametrize("model", [_Fixed(4, 4), _Branch(4, 4)])
def test_what_cannot_be_a_program_is_said_and_leaves_the_old_file(model: nn.Module, tmp_path: Path) -> None:
    path = save_program(nn.Linear(4, 2), torch.zeros(2, 4), tmp_path / "model.pt2")
    before = path.read_bytes()
    with pytest.raises(ExportError, match="cannot be written as a program for any batch"):
        save_program(model, torch.zeros(2, 4), path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    with pytest.raises(ExportError, match=r"must end with \.pt2"):
        save_program(model, torch.zeros(2, 4), tmp_path / "model.pt")


def _rewritten(path: Path, change: dict[str, Any]) -> Path:
    """The archive with the content of some entries changed."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    for name, value in change.items():
        old = content.get(name, b"")
        content[name] = value(old) if callable(value) else value
    other = path.with_name("other.pt2")
    with zipfile.ZipFile(other, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return other


class _Bad:
    def __reduce__(self) -> Any:
        return print, ("code was run",)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save_program(nn.Linear(4, 2), torch.zeros(2, 4), tmp_path / "model.pt2")
    weights = "archive/data/weights/model_weights_config.json"

    def pickled(old: bytes) -> bytes:
        return old.replace(b'"use_pickle": false', b'"use_pickle": true').replace(
            b'"use_pickle":false', b'"use_pickle":true'
        )

    with zipfile.ZipFile(path) as archive:
        assert pickled(archive.read(weights)) != archive.read(weights)
    with pytest.raises(ExportError, match="holds pickled objects"):
        load_program(_rewritten(path, {weights: pickled, "archive/data/weights/weight_0": pickle.dumps(_Bad())}))
    torch.save(_Bad(), tmp_path / "bad.pt")
    bad = (tmp_path / "bad.pt").read_bytes()
    with pytest.raises(ExportError, match="is not a readable program"):
        load_program(_rewritten(path, {"archive/data/sample_inputs/model.pt": bad}))
    with pytest.raises(ExportError, match="holds compiled code"):
        load_program(_rewritten(path, {"archive/data/aotinductor/model/model.so": b"x"}))
    with pytest.raises(ExportError, match="has the schema 'other/1'"):
        load_program(_rewritten(path, {"archive/extra/secateur.json": json.dumps({"schema": "other/1"})}))
    assert "code was run" not in capsys.readouterr().out


def test_missing_and_damaged_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="there is no program at"):
        load_program(tmp_path / "none.pt2")
    (tmp_path / "bad.pt2").write_bytes(b"no archive")
    with pytest.raises(ExportError, match="is not a readable program"):
        load_program(tmp_path / "bad.pt2")
