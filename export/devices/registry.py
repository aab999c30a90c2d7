"""The devices that a user has named, in a file of their own among their settings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from secateur.core.errors import DeviceError, near_matches
from secateur.core.files import locked
from secateur.core.records import read_record, write_record
from secateur.export.devices.device import Device

KIND = "devices"


@dataclass(frozen=True)
class Registry:
    """All devices, in the order in which they were added."""

    devices: tuple[Device, ...] = ()


def registry_path() -> Path:
    """`secateur/devices.json` in the folder of the user's settings (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    folder = Path(base) if base and Path(base).is_absolute() else Path.home() / ".config"
    return folder / "secateur" / "devices.json"


def devices() -> tuple[Device, ...]:
    """All devices; raises `RunError` or `DeviceError` for a file that is damaged."""
    path = registry_path()
    return read_record(path, KIND, Registry, DeviceError).devices if path.exists() else ()


def find_device(name: str) -> Device:
    """The device of that name; raises `DeviceError` with the names that there are for any other."""
    known = {device.name: device for device in devices()}
    if name in known:
        return known[name]
    there = f"choose one of {', '.join(known)}" if known else "there is none yet"
    raise DeviceError(
        f"the device {name!r} is not known{near_matches(name, known)}: {there}, or add it with "
        f"`secateur device add NAME ssh://user@host`"
    )


def add_device(device: Device, replace: bool = False) -> None:
    """Adds a device; raises `DeviceError` where there is one of that name, unless it is to be replaced."""
    with _changing():
        known = {one.name: one for one in devices()}
        if device.name in known and not replace:
            raise DeviceError(
                f"there is a device {device.name} already ({known[device.name].address}): choose another name, or "
                f"remove that one with `secateur device remove {device.name}`"
            )
        _save(tuple({**known, device.name: device}.values()))


def remove_device(name: str) -> Device:
    """Removes a device and returns it; raises `DeviceError` for an unknown name."""
    with _changing():
        gone = find_device(name)
        _save(tuple(one for one in devices() if one.name != name))
    return gone


@contextmanager
def _changing() -> Iterator[None]:
    """Two commands that change the file do so in turn."""
    folder = registry_path().parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DeviceError(
            f"cannot make {folder} ({error.strerror or error}): let XDG_CONFIG_HOME name a folder that you may write to"
        ) from error
    with locked(folder / ".devices.lock"):
        yield


def _save(known: tuple[Device, ...]) -> None:
    write_record(registry_path(), KIND, Registry(known))
    registry_path().chmod(0o600)
