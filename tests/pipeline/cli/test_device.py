"""`secateur device`: named, listed, examined and removed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from secateur.core.errors import DeviceError
from tests.export.devices.stand_in_ssh import StandIn, installed
from tests.pipeline.cli.conftest import Command


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return installed(tmp_path, monkeypatch)


def test_a_device_from_its_first_day_to_its_last(stand_in: StandIn, secateur: Command) -> None:
    assert "no device yet" in secateur("device", "list").stderr
    secateur("device", "add", "orin", "ssh://user@orin.local", "--python", stand_in.device.python)
    (listed,) = json.loads(secateur("device", "list", "--json").stdout)["devices"]
    assert (listed["name"], listed["host"], listed["user"]) == ("orin", "orin.local", "user")
    assert stand_in.calls == 0
    said = secateur("device", "doctor", "orin").stdout
    assert "address: ssh://user@orin.local" in said and "not there: nvpmodel" in said
    assert "missing: no runtime" in said
    assert json.loads(secateur("device", "doctor", "orin", "--json").stdout)["sensors"]["absent"]["nvpmodel"]
    assert secateur("device", "stop", "orin").stderr == "0 stopped\n"
    secateur("device", "remove", "orin", "--wipe")
    assert not stand_in.files.exists() and secateur("device", "list").stdout == ""


def test_a_device_that_cannot_be_reached_is_kept(stand_in: StandIn, secateur: Command) -> None:
    secateur("device", "add", "orin", "ssh://user@orin.local")
    stand_in.refuse("user@orin.local: Permission denied (publickey).")
    for words in (["doctor", "orin"], ["remove", "orin", "--wipe"]):
        with pytest.raises(DeviceError, match="does not accept your key"):
            secateur("device", *words)
    assert secateur("device", "list").stdout.startswith("orin  ssh://user@orin.local")


@pytest.mark.parametrize("words", [["add", "or in", "ssh://host"], ["add", "orin", "host"], ["doctor", "none"]])
def test_bad_names_and_addresses_are_refused(stand_in: StandIn, secateur: Command, words: list[str]) -> None:
    with pytest.raises(DeviceError):
        secateur("device", *words)
