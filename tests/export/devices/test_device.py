"""Names and addresses of devices."""

from __future__ import annotations

import pytest

from secateur.core.errors import DeviceError
from secateur.export.devices.device import Device, parse_device


@pytest.mark.parametrize(
    ("address", "device", "login"),
    [
        ("ssh://user@orin.local", Device("orin", "orin.local", "user"), "ssh user@orin.local"),
        ("ssh://user@10.0.0.7:2222", Device("orin", "10.0.0.7", "user", 2222), "ssh -p 2222 user@10.0.0.7"),
        ("ssh://Bench-Alias", Device("orin", "Bench-Alias"), "ssh Bench-Alias"),
        ("ssh://user@[fe80::1%eth0]:22", Device("orin", "fe80::1%eth0", "user", 22), "ssh -p 22 user@fe80::1%eth0"),
    ],
)
def test_an_address_is_a_device(address: str, device: Device, login: str) -> None:
    assert parse_device("orin", address) == device
    assert parse_device("orin", device.address) == device
    assert device.login == login


@pytest.mark.parametrize(
    "address",
    [
        "orin.local",
        "user@orin.local",
        "http://orin",
        "ssh://",
        "ssh://user@",
        "ssh://user@orin/etc",
        "ssh://user@orin?x",
        "ssh://user@orin:0",
        "ssh://user@orin:99999",
        "ssh://user@orin:ssh",
        "ssh://-oProxyCommand=touch%20x",
        "ssh://user@-oProxyCommand",
        "ssh://-l@orin",
        "ssh://a;b@orin",
        "ssh://user@orin;reboot",
        "ssh://user@or in",
        "ssh://user@orin\nhost",
        "ssh://us$(x)er@orin",
        "ssh://[fe80::1",
    ],
)
def test_anything_else_is_refused_in_a_sentence(address: str) -> None:
    with pytest.raises(DeviceError, match=r"give|port"):
        parse_device("orin", address)


def test_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(DeviceError, match="log in with a key") as error:
        parse_device("orin", "ssh://user:secret@orin")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("name", ["", "-orin", "or in", "../orin", "orin/2", "a" * 65, "orin\n", "ö"])
def test_names_are_plain(name: str) -> None:
    with pytest.raises(DeviceError, match="name of a device"):
        Device(name, "host")


@pytest.mark.parametrize("python", ["", "-c", "python\n3", "~/venv/bin/python"])
def test_an_interpreter_is_a_program(python: str) -> None:
    with pytest.raises(DeviceError, match="python"):
        Device("orin", "host", python=python)
