"""Folders with a split of their own, under every name that timm knows for its parts."""

from __future__ import annotations

from pathlib import Path

import pytest
from timm.data import create_dataset
from timm.data.dataset_factory import _EVAL_SYNONYM, _TRAIN_SYNONYM

from secateur.pipeline.data.registry import find_source
from secateur.pipeline.data.split_folder import HELD_OUT, TRAIN, open_split_folder, parts, recognises
from tests.pipeline.data.sources import write_csv, write_folder


def test_the_names_are_timms_and_test() -> None:
    assert set(TRAIN) == set(_TRAIN_SYNONYM)
    assert set(HELD_OUT) == {*_EVAL_SYNONYM, "test", "testing"}


@pytest.mark.parametrize("train", TRAIN)
@pytest.mark.parametrize("held", HELD_OUT)
def test_the_parts_are_a_split_and_no_classes(train: str, held: str, tmp_path: Path) -> None:
    write_folder(tmp_path / train, 1)
    write_folder(tmp_path / held, 2)
    assert find_source(tmp_path).name == "split_folder"
    sides = open_split_folder(tmp_path)
    assert sides.held_out is not None
    assert sides.train.classes == sides.held_out.classes == ("class_0", "class_1", "class_2")
    theirs = create_dataset("", root=str(tmp_path), split="train")
    assert sorted(theirs.reader.class_to_idx) == list(sides.train.classes)
    assert sorted(path for path, _ in theirs.reader.samples) == sorted(map(str, sides.train.paths))  # type: ignore[attr-defined]
    if held in _EVAL_SYNONYM:
        theirs = create_dataset("", root=str(tmp_path), split="validation")
        assert sorted(path for path, _ in theirs.reader.samples) == sorted(map(str, sides.held_out.paths))  # type: ignore[attr-defined]


def test_other_folders_beside_both_parts_are_left_alone(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", 1)
    write_folder(tmp_path / "val", 2)
    write_folder(tmp_path / "extra", 3)
    assert recognises(tmp_path)
    sides = open_split_folder(tmp_path)
    assert (len(sides.train), len(sides.held_out or ())) == (15, 15)


def test_of_several_held_out_parts_the_first_is_used(tmp_path: Path) -> None:
    for name in ("train", "test", "val"):
        write_folder(tmp_path / name)
    assert parts(tmp_path) == (tmp_path / "train", tmp_path / "val")


def test_a_class_called_train_is_a_class(tmp_path: Path) -> None:
    for name in ("train", "bus", "car"):
        write_folder(tmp_path / name)
    assert not recognises(tmp_path)
    assert not recognises(tmp_path / "absent")


def test_a_single_part_is_the_whole_source(tmp_path: Path) -> None:
    write_folder(tmp_path / "training")
    assert recognises(tmp_path)
    sides = open_split_folder(tmp_path)
    assert (len(sides.train), sides.held_out) == (15, None)


def test_parts_may_be_of_any_format(tmp_path: Path) -> None:
    write_csv(tmp_path / "train", lambda i: "abc"[i], seed=1)
    write_folder(tmp_path / "val")
    sides = open_split_folder(tmp_path)
    assert sides.train.classes == ("a", "b", "c")
    assert sides.held_out is not None
    assert sides.held_out.classes == ("class_0", "class_1", "class_2")
