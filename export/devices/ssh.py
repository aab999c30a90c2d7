"""One request to a device through OpenSSH, with the user's own settings, agent and known hosts.

The remote command is one constant program, which reads everything else from its standard input: no name or path ever
reaches a remote shell but that of the Python interpreter, quoted in `remote_command`.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from secateur.core.errors import ConnectionLostError, DeviceError
from secateur.core.json_text import parse_json
from secateur.export.devices.device import Device

BOOT = (
    'import sys;v=sys.version_info;f=sys.stdin.buffer if v>=(3,8) else sys.exit("secateur needs Python 3.8 or newer, '
    'this is %d.%d"%v[:2]);exec(compile(f.read(int(f.readline())),"agent","exec"))'
)
"""Reads the agent from standard input and runs it; it has nothing that any shell treats in a way of its own."""

HELLO = "secateur-agent 1"
LOST = 255
"""What ssh itself exits with where the connection is not made or breaks."""

TOO_OLD = "secateur needs Python 3.8 or newer"
NOISE = 1 << 16
"""Bytes of greetings that a login may print before the agent's answer, and of errors that are read."""
LONGEST = 16 << 20
"""Bytes of one line of an answer: a piece of a log is the longest."""
SAID = 1000
"""Characters that are told of a message of the device."""


SOCKET_PATH, SOCKET_NAME = 103, 60
"""Bytes that the path of a socket may have on every system, and those that ssh adds to its folder."""


def remote_command(python: str) -> str:
    """The command as the remote shell reads it: ssh joins its arguments with blanks and quotes nothing."""
    return shlex.join([python, "-I", "-c", BOOT])


def ssh_arguments(device: Device) -> list[str]:
    """The command line of ssh, without a shell on this side."""
    program = shutil.which("ssh")
    if program is None:
        raise DeviceError(
            "there is no ssh on this machine: install OpenSSH's client, such as `apt install openssh-client`"
        )
    settings = {
        "BatchMode": "yes",  # no question that nobody sees
        "StrictHostKeyChecking": "yes",
        "ConnectTimeout": "10",
        "ServerAliveInterval": "5",
        "ServerAliveCountMax": "3",
        "ClearAllForwardings": "yes",
        "EscapeChar": "none",
    }
    if folder := _control_folder():
        settings.update(ControlMaster="auto", ControlPersist="30", ControlPath=str(folder / "%C"))
    words = [program, "-T", *(word for key, value in settings.items() for word in ("-o", f"{key}={value}"))]
    words += ["-l", device.user] if device.user else []
    words += ["-p", str(device.port)] if device.port else []
    return [*words, "--", device.host, remote_command(device.python)]


class Session:
    """One request and its answers, as a context manager; `answer` is read line by line.

    Raises `DeviceError` with one sentence where ssh or the device refuses, and `ConnectionLostError` where the
    connection breaks.
    """

    def __init__(self, device: Device, request: Mapping[str, Any]) -> None:
        self._device = device
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed in __exit__; a pipe would be held open by a master
        self._process = subprocess.Popen(
            ssh_arguments(device), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors
        )
        agent = (Path(__file__).parent / "agent.py").read_bytes()
        line = json.dumps(dict(request)).encode()
        try:
            self.send(b"%d\n%s%s\n" % (len(agent), agent, line))
            self._skip_greetings()
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None and error is not None:
            self._process.terminate()
        self.finish_sending()
        assert self._process.stdout is not None  # for the type checker: it is a pipe
        self._process.stdout.close()
        self._process.wait()
        self._errors.close()

    def send(self, data: bytes) -> None:
        """Sends bytes; what the device said is raised where it does not listen any more."""
        assert self._process.stdin is not None  # for the type checker: it is a pipe
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except BrokenPipeError:
            list(self.answers())  # an error that the device told
            raise self._failure() from None

    def finish_sending(self) -> None:
        """Tells the device that nothing more comes."""
        assert self._process.stdin is not None  # for the type checker: it is a pipe
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            self._process.stdin = None  # it has ended already

    def answers(self) -> Iterator[dict[str, Any]]:
        """Each line of the answer, an object; raises where the device tells of an error or the connection breaks."""
        assert self._process.stdout is not None  # for the type checker: it is a pipe
        while line := self._process.stdout.readline(LONGEST):
            if not line.endswith(b"\n") and len(line) < LONGEST:  # it was cut
                break
            try:
                found = parse_json(line)
            except ValueError:
                found = None
            if not isinstance(found, dict):
                raise odd(self._device, line[:80].decode(errors="replace"))
            if "error" in found:
                raise told(self._device, str(found["error"]), str(found.get("message", "it gives no reason"))[:SAID])
            yield found
        if self._process.wait():
            raise self._failure()

    def read(self, size: int) -> Iterator[bytes]:
        """So many bytes of the answer, in pieces."""
        assert self._process.stdout is not None  # for the type checker: it is a pipe
        while size:
            data = self._process.stdout.read1(min(size, 1 << 20))  # type: ignore[attr-defined]  # of BufferedReader
            if not data:
                self._process.wait()
                raise self._failure()
            size -= len(data)
            yield data

    def _skip_greetings(self) -> None:
        assert self._process.stdout is not None  # for the type checker: it is a pipe
        seen = 0
        while seen < NOISE and (line := self._process.stdout.readline(NOISE)):
            if line.decode(errors="replace").strip() == HELLO:
                return
            seen += len(line)
        if seen >= NOISE:
            self._process.kill()
        self._process.wait()
        raise self._failure()

    def _failure(self) -> DeviceError:
        """What ssh or the remote shell said, as one sentence that says what to do."""
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - NOISE))
        said = self._errors.read(NOISE).decode(errors="replace")
        return explained(self._device, self._process.returncode or 0, said)


def explained(device: Device, code: int, said: str) -> DeviceError:
    """The error for an exit code of ssh and what it wrote to standard error."""
    where = f"{device.name} ({device.address})"
    last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), f"exit {code}")[:SAID]
    if code == LOST:
        if "HOST IDENTIFICATION HAS CHANGED" in said or "POSSIBLE DNS SPOOFING" in said:
            return DeviceError(
                f"the host key of {where} is not the one that this machine knows, so nothing was sent: if the device "
                f"was installed anew, forget the old key with `ssh-keygen -R {_known_as(device)}` and log in once with "
                f"`{device.login}`; else somebody may be in between"
            )
        if "Host key verification failed" in said or "host key is known" in said:
            return DeviceError(
                f"the host key of {where} is not known here, so nothing was sent: log in once with `{device.login}`, "
                "compare the fingerprint with the device's own (`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` "
                "there), and accept it"
            )
        if "Permission denied" in said:
            return DeviceError(
                f"{where} does not accept your key: install it there with "
                f"`{device.login.replace('ssh ', 'ssh-copy-id ', 1)}`, or load it with `ssh-add`"
            )
        if "Could not resolve" in said:
            return ConnectionLostError(
                f"{where} has a host name that cannot be found ({last}): check it and the network"
            )
        return ConnectionLostError(
            f"there is no connection to {where} ({last}): check that it is on, and run the same command again"
        )
    if TOO_OLD in said or "Unknown option: -I" in said:
        return DeviceError(f"the Python of {where}, {device.python}, is too old ({last}): {_other_python(device)}")
    if code in (126, 127) or "not found" in said or "No such file" in said:
        return DeviceError(f"{where} has no Python at {device.python!r} ({last}): {_other_python(device)}")
    return ConnectionLostError(f"{where} ended in the middle ({last}): run the same command again")


def odd(device: Device, what: object) -> DeviceError:
    """The error for an answer that secateur's agent does not give."""
    return DeviceError(
        f"{device.name} answered {what!r:.100}, which is no answer to what was asked: see that {device.python!r} is a "
        "Python there, and that nobody else writes into `~/.cache/secateur`"
    )


def told(device: Device, kind: str, message: str) -> DeviceError:
    """The error for what the agent said."""
    advice = {
        "busy": "wait until that has ended, or measure on another device",
        "no-space": "free some space there, then run the same command again",
        "damaged": "run the same command again; if it happens again, check the device's disk and memory",
    }.get(kind, "run the same command again")
    return DeviceError(f"{device.name}: {message}: {advice}")


def _other_python(device: Device) -> str:
    return (
        "install Python 3.8 or newer there, or name another one with "
        f"`secateur device add {device.name} {device.address} --python PATH --replace`"
    )


def _known_as(device: Device) -> str:
    return f"[{device.host}]:{device.port}" if device.port not in (None, 22) else device.host


def _control_folder() -> Path | None:
    """A folder of this user alone for the sockets of shared connections; None where each path would be too long."""
    if not hasattr(os, "getuid"):  # Windows, whose OpenSSH shares no connections either
        return None
    for base in (os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir()):
        folder = Path(base) / f"secateur-ssh-{os.getuid()}"
        if not base or len(str(folder)) + SOCKET_NAME > SOCKET_PATH:
            continue
        folder.mkdir(mode=0o700, exist_ok=True)
        about = folder.lstat()
        if folder.is_symlink() or about.st_uid != os.getuid() or about.st_mode & 0o077:
            raise DeviceError(f"{folder} is not of this user alone: remove it, then run the same command again")
        return folder
    return None
