"""A device behind a stand-in for ssh."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.export.devices.stand_in_ssh import StandIn, installed


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return installed(tmp_path / "stand-in", monkeypatch)
