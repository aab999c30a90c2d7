"""A device that is reached over ssh: its name here, and where it is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from secateur.core.errors import DeviceError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
USER = re.compile(r"[A-Za-z_][A-Za-z0-9._-]{0,31}")
HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252})|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9._-]+)?")
PYTHON = re.compile(r"[^\x00-\x1f\x7f]+")
FORM = "ssh://user@host or ssh://user@host:port"


@dataclass(frozen=True)
class Device:
    """A name of the user's own, and an address for OpenSSH; without `user` and `port` the user's ssh settings decide.

    `host` may be an alias of the user's ssh settings. `python` is the interpreter on the device, which has NumPy and
    one of the runtimes. Raises `DeviceError` for a part that is no such thing.
    """

    name: str
    host: str
    user: str | None = None
    port: int | None = None
    python: str = "python3"

    def __post_init__(self) -> None:
        _check("name of a device", self.name, NAME, "letters, digits, '.', '_' and '-', such as orin")
        _check("host", self.host, HOST, "a host name, an address or an alias of your ssh settings")
        if self.user is not None:
            _check("user", self.user, USER, "letters, digits, '.', '_' and '-'")
        if self.port is not None and not 0 < self.port < 65536:
            raise DeviceError(f"got the port {self.port}: give one from 1 to 65535")
        _check("python", self.python, PYTHON, "a program or its path, such as /opt/venv/bin/python")
        if self.python.startswith(("-", "~")):
            raise DeviceError(f"got the python {self.python!r}: give a program or its whole path, without ~")

    @property
    def address(self) -> str:
        """The address as a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ssh://{f'{self.user}@' if self.user else ''}{host}{f':{self.port}' if self.port else ''}"

    @property
    def login(self) -> str:
        """The command with which a person logs in."""
        port = f"-p {self.port} " if self.port else ""
        return f"ssh {port}{f'{self.user}@' if self.user else ''}{self.host}"


@dataclass(frozen=True)
class Remote:
    """Work on `device` and not here; `keep` leaves the work's folder there."""

    device: Device
    keep: bool = False


def parse_device(name: str, address: str, python: str = "python3") -> Device:
    """The device at an address such as `ssh://user@host:22`; raises `DeviceError` for anything else."""
    if not address.isprintable():  # urlsplit takes line feeds away
        raise DeviceError(f"got the address {address!r}: give {FORM}")
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        raise DeviceError(f"got the address {address!r} ({error}): give {FORM}") from error
    if parts.scheme != "ssh" or parts.path not in ("", "/") or parts.query or parts.fragment or not parts.netloc:
        raise DeviceError(f"got the address {address!r}: give {FORM}")
    if parts.password is not None:
        raise DeviceError(f"the address of {name} holds a password: take it out, and log in with a key ({FORM})")
    host = parts.netloc.rpartition("@")[2]  # as it is written: `hostname` would be in lower case
    host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return Device(name, host, parts.username, port, python)


def _check(what: str, word: str, pattern: re.Pattern[str], allowed: str) -> None:
    if not pattern.fullmatch(word):
        raise DeviceError(f"got the {what} {word!r}: give {allowed}")
