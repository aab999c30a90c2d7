"""What a system cannot do is said, each thing by itself; on Linux nothing is missing."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path

import pytest

from secateur.export.platform_limits import platform_limits


@pytest.mark.skipif(sys.platform != "linux", reason="other systems lack some of it")
def test_linux_lacks_nothing() -> None:
    assert platform_limits() == ()


@pytest.mark.parametrize(
    ("place", "name", "words"),
    [
        (os, "posix_fallocate", "there is no posix_fallocate"),
        (os, "O_DIRECTORY", "folders cannot be synchronised"),
        (os, "getuid", "there are no numbers of users"),
        (signal, "SIGHUP", "there is no SIGHUP"),
    ],
)
def test_each_thing_that_is_missing_is_said(
    place: object, name: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = platform_limits()
    monkeypatch.delattr(place, name, raising=False)
    (said,) = set(platform_limits()) - set(before) or set(before)
    assert said.startswith(words)


def test_a_missing_module_and_missing_control_groups_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    said = platform_limits(tmp_path / "absent")
    assert [sentence.split(":")[0] for sentence in said] == ["there is no fcntl", "there are no control groups"]
