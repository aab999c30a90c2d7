"""The user's file of devices."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from secateur.core.errors import DeviceError, RunError
from secateur.export.devices.device import Device
from secateur.export.devices.registry import add_device, devices, find_device, registry_path, remove_device

ORIN, THOR = Device("orin", "orin.local", "user", 2222), Device("thor", "10.0.0.9")


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def test_devices_are_added_found_and_removed() -> None:
    assert devices() == ()
    add_device(ORIN)
    add_device(THOR)
    assert devices() == (ORIN, THOR) and find_device("thor") == THOR
    assert remove_device("orin") == ORIN
    assert devices() == (THOR,)


def test_only_the_user_may_read_the_file() -> None:
    add_device(ORIN)
    assert registry_path().stat().st_mode & 0o777 == 0o600


def test_a_name_is_taken_once() -> None:
    add_device(ORIN)
    with pytest.raises(DeviceError, match="already"):
        add_device(Device("orin", "other"))
    assert find_device("orin") == ORIN
    add_device(Device("orin", "other"), replace=True)
    assert find_device("orin").host == "other"


def test_an_unknown_name_gives_the_choices() -> None:
    with pytest.raises(DeviceError, match="there is none yet"):
        find_device("orin")
    add_device(ORIN)
    with pytest.raises(DeviceError, match="did you mean 'orin'"):
        remove_device("orim")


def test_a_damaged_file_is_refused_and_kept() -> None:
    add_device(ORIN)
    content = json.loads(registry_path().read_text())
    content["devices"][0]["host"] = "-oProxyCommand=x"
    for text, kind in (("{", RunError), (json.dumps(content), DeviceError)):
        registry_path().write_text(text)
        with pytest.raises(kind):
            add_device(THOR)
        assert registry_path().read_text() == text


def test_two_commands_at_once_lose_nothing() -> None:
    each = [Device(f"d{number}", "host") for number in range(4)]
    started = [multiprocessing.get_context("fork").Process(target=add_device, args=(one,)) for one in each]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert {one.name for one in devices()} == {one.name for one in each}


def test_settings_that_cannot_be_written_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    with pytest.raises(DeviceError, match="cannot make"):
        add_device(ORIN)
