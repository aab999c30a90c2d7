"""Tensors in files: what was written last comes back, and a disk that fills up is an error in a sentence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from secateur.core.errors import RunError
from secateur.pipeline.recover.tensor_file import TensorFile


def test_what_was_written_last_comes_back_in_float32(tmp_path: Path) -> None:
    file = TensorFile(tmp_path / "x", 24)
    assert (tmp_path / "x").stat().st_size == 96
    wide, narrow = torch.randn(2, 3, 4), torch.randn(3, 2).bfloat16().T
    file.write(wide)
    assert torch.equal(file.read(), wide)
    file.write(narrow)
    assert torch.equal(file.read(), narrow.float())
    file.write(torch.zeros(2, 0))
    assert file.read().shape == (2, 0)


@pytest.mark.parametrize("values", [0, 5, (1 << 18) + 3])
def test_the_room_is_taken_where_the_system_writes_it_too(
    values: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    TensorFile(tmp_path / "x", values)
    assert (tmp_path / "x").stat().st_size == 4 * max(values, 1)
    assert (tmp_path / "x").stat().st_blocks * 512 >= 4 * values  # no hole


def test_a_disk_that_fills_up_is_said(tmp_path: Path) -> None:
    file = TensorFile(tmp_path / "x", 4)
    (tmp_path / "x").unlink()
    (tmp_path / "x").symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"do not fit .*No space left on device.*name a larger folder"):
        file.write(torch.zeros(4))
