"""A real sshd on loopback: its own keys and its own port, and a wrapper that gives ssh its settings."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from secateur.export.devices.device import Device

SERVER = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
PidFile {folder}/sshd.pid
AuthorizedKeysFile {folder}/authorized_keys
PasswordAuthentication no
UsePAM no
StrictModes no
SetEnv XDG_CACHE_HOME={folder}/cache SECATEUR_LOCK={folder}/lock
"""
CLIENT = """
IdentityFile {folder}/user_key
IdentitiesOnly yes
UserKnownHostsFile {folder}/known_hosts
GlobalKnownHostsFile /dev/null
"""


def missing() -> str:
    """Why there can be no sshd here; empty where there can."""
    if sshd_path() is None or not shutil.which("ssh-keygen") or not Path("/usr/bin/ssh").exists():
        return "OpenSSH's server is not installed (apt-get install openssh-server)"
    if os.getuid() == 0 and not Path("/run/sshd").is_dir():
        return "sshd's folder /run/sshd is not there, which it needs when root starts it"
    return ""


def sshd_path() -> str | None:
    """The program, which wants to be started by its whole path."""
    return shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")


@dataclass
class Sshd:
    """A server that runs, and the device that it is."""

    folder: Path
    device: Device
    process: subprocess.Popen[bytes]

    def new_host_key(self) -> None:
        """What a device has that was installed anew."""
        keygen(self.folder / "other_key")
        known = self.folder / "known_hosts"
        line = (self.folder / "other_key.pub").read_text().split()
        known.write_text(f"[127.0.0.1]:{self.device.port} {line[0]} {line[1]}\n")

    def drop(self) -> int:
        """Kills every connection, but not the server; returns how many there were."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for child in children:
            subprocess.run(["pkill", "-KILL", "-P", child], check=False)
            os.kill(int(child), 9)
        return len(children)


def keygen(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


@contextmanager
def serving(folder: Path, patch: pytest.MonkeyPatch, python: str = sys.executable) -> Iterator[Sshd]:
    """A server as a context manager; `ssh` finds its keys."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for name in ("host_key", "user_key"):
        keygen(folder / name)
    shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
    kind, key = (folder / "host_key.pub").read_text().split()[:2]
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {kind} {key}\n")
    (folder / "server").write_text(SERVER.format(folder=folder, port=port))
    (folder / "client").write_text(CLIENT.format(folder=folder))
    (folder / "bin").mkdir()
    (folder / "bin" / "ssh").write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {folder}/client "$@"\n')
    (folder / "bin" / "ssh").chmod(0o755)
    (folder / "run").mkdir(mode=0o700)
    patch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    patch.setenv("XDG_RUNTIME_DIR", str(folder / "run"))
    patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    command = [str(sshd_path()), "-D", "-e", "-f", str(folder / "server")]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 20
        while "Server listening" not in (folder / "server.log").read_text():
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError((folder / "server.log").read_text())
            time.sleep(0.02)
        yield Sshd(folder, Device("orin", "127.0.0.1", getpass.getuser(), port, python), process)
    finally:
        process.terminate()
        process.wait()
