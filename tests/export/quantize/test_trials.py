"""What was measured is not measured again, unless it was of something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur.core.errors import ExportError
from secateur.export.quantize.limit import Drop
from secateur.export.quantize.trials import Trials


def never() -> float:
    raise AssertionError("this is known")


def never_a_drop() -> Drop:
    raise AssertionError("this is known")


def test_a_search_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path, drop = tmp_path / "trials.json", Drop(0.5, 0.25, 8)
    trials = Trials("graph and images", path)
    assert trials.alone("a", lambda: 2.0) == trials.alone("a", never) == 2.0
    assert trials.drop(["b", "a"], lambda: drop) == drop
    again = Trials("graph and images", path)
    assert again.alone("a", never) == 2.0
    assert again.drop({"a", "b"}, never_a_drop) == drop
    assert again.drop(["a"], lambda: Drop(0, 0, 1)) == Drop(0, 0, 1)
    other = Trials("other images", path)
    assert other.alone("a", lambda: 3.0) == 3.0
    assert Trials("graph and images", path).alone("a", lambda: 4.0) == 4.0
    path.write_text('{"schema": "secateur.trials/1", "identity": 3}')
    with pytest.raises(ExportError, match=r"trials.json: identity: .*: remove it to measure anew"):
        Trials("graph and images", path)


def test_without_a_file_nothing_is_kept() -> None:
    assert Trials("x", None).alone("a", lambda: 1.0) == 1.0
    assert Trials("x", None).alone("a", lambda: 2.0) == 2.0
