"""Weights in several files: all of them, of one index, and nothing from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from secateur.core.errors import ModelError
from secateur.pipeline.models.shards import INDEX, shards_of
from secateur.pipeline.models.weights_file import read_checkpoint, weights_digest

ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three tensors in two files."""
    save_file({"a": torch.ones(2), "b": torch.zeros(1)}, tmp_path / ONE)
    save_file({"c": torch.full((3,), 2.0)}, tmp_path / TWO)
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": ONE, "b": ONE, "c": TWO}}))
    return tmp_path


def test_all_tensors_are_read_from_the_folder_or_the_index(folder: Path) -> None:
    for place in (folder, folder / INDEX):
        found = read_checkpoint(place)
        assert {name: value.tolist() for name, value in found.items()} == {"a": [1, 1], "b": [0], "c": [2, 2, 2]}


def test_every_file_decides_the_digest(folder: Path) -> None:
    before = weights_digest(folder)
    assert before == weights_digest(folder / INDEX)
    save_file({"c": torch.full((3,), 3.0)}, folder / TWO)
    assert weights_digest(folder) != before
    assert weights_digest(folder / "absent.pth") == ""


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ({"a": "../model.safetensors"}, "must name a .safetensors file beside it"),
        ({"a": "/etc/model.safetensors"}, "must name a .safetensors file beside it"),
        ({"a": "model.bin"}, "must name a .safetensors file beside it"),
        ({"a": 5}, "must name a .safetensors file beside it"),
        ({"a": ONE, "b": ONE, "c": "model-3.safetensors"}, "lacks model-3.safetensors, 1 of the 2 files"),
        ({"a": ONE, "c": TWO}, "do not agree about 'b'"),
        ({"a": ONE, "b": ONE, "c": TWO, "d": TWO}, "do not agree about 'd'"),
        ({}, "has no weight_map"),
        ([], "has no weight_map"),
    ],
)
def test_an_index_that_is_not_of_these_files_is_one_sentence(index: Any, words: str, folder: Path) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": index}))
    with pytest.raises(ModelError, match=words):
        read_checkpoint(folder)


@pytest.mark.parametrize("text", ["{", "[]", "5", "[" * 100_000])
def test_a_damaged_index_is_one_sentence(text: str, folder: Path) -> None:
    (folder / INDEX).write_text(text)
    with pytest.raises(ModelError, match=r"cannot read|has no weight_map"):
        shards_of(folder / INDEX)
