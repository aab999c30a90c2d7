"""Where what programs note down goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur.core.errors import RunError
from secateur.core.state_folder import state_folder


@pytest.mark.parametrize(("base", "expected"), [("/a/b", "/a/b/secateur"), ("a/b", "/me/.local/state/secateur")])
def test_the_folder_is_that_of_the_environment_where_it_names_one(
    base: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", base)
    monkeypatch.setenv("HOME", "/me")
    assert state_folder() == Path(expected)


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(RunError, match="no home folder: let XDG_STATE_HOME name a folder"):
        state_folder()
