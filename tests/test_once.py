"""What processes share is made by one of them, whole or again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.once import made_once


class Places(pytest.TempPathFactory):
    """The temporary folders of one worker of a session."""

    def __init__(self, base: Path) -> None:
        base.mkdir()
        super().__init__(base, 3, "all", trace=lambda *_: None, basetemp=base, _ispytest=True)


def test_it_is_made_by_the_first_that_asks_and_again_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    first, second = Places(tmp_path / "gw0"), Places(tmp_path / "gw1")
    calls: list[Path] = []

    def make(folder: Path) -> None:
        calls.append(folder)
        assert not list(folder.iterdir())
        (folder / "half").touch()
        if len(calls) == 1:
            raise OSError("the disk is full")
        (folder / "whole").touch()

    with pytest.raises(OSError, match="full"):
        made_once(first, "thing", make)
    found = [made_once(places, "thing", make) for places in (second, first, second)]
    assert set(found) == set(calls) and len(calls) == 2
    assert (found[0] / "whole").exists()
    monkeypatch.delenv("PYTEST_XDIST_WORKER")
    assert made_once(first, "thing", make).is_relative_to(tmp_path / "gw0")
