"""Requests through ssh: what the remote shell sees, and what becomes of its failures."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from secateur.core.errors import ConnectionLostError, DeviceError
from secateur.export.devices.device import Device
from secateur.export.devices.ssh import BOOT, HELLO, LOST, Session, explained, remote_command, ssh_arguments, told
from secateur.export.devices.transfer import ask
from tests.export.devices.stand_in_ssh import StandIn

ORIN = Device("orin", "orin.local", "user", 2222)
NAMES = ["a b", "py'thon", 'py"thon', "$(touch x)", "a;b", "`x`", "a\\b", "~", "*", "a&b|c>d", "!x", "#y"]


@pytest.mark.parametrize("shell", [name for name in ("sh", "bash", "dash", "zsh", "csh", "fish") if shutil.which(name)])
def test_a_remote_shell_sees_the_words_as_they_are(shell: str, tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).write_text('#!/bin/sh\nfor word in "$0" "$@"; do printf "%s\\n" "$word"; done\n')
        (tmp_path / name).chmod(0o755)
        command = [shell, "-c", remote_command(str(tmp_path / name))]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.stdout.splitlines() == [str(tmp_path / name), "-I", "-c", BOOT]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)


def test_ssh_asks_nothing_and_trusts_nothing_new() -> None:
    words = ssh_arguments(ORIN)
    assert {"BatchMode=yes", "StrictHostKeyChecking=yes", "ControlMaster=auto"} <= {*words}
    assert words[-3:] == ["--", "orin.local", remote_command("python3")]
    assert words[words.index("-p") + 1] == "2222" and words[words.index("-l") + 1] == "user"
    assert {"-l", "-p"}.isdisjoint(ssh_arguments(Device("orin", "alias")))


def test_connections_are_shared_where_the_path_of_a_socket_is_short_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("x" * 60)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    assert not any(str(deep) in word for word in ssh_arguments(ORIN)) and "ControlMaster=auto" in ssh_arguments(ORIN)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(deep))
    assert "ControlMaster=auto" not in ssh_arguments(ORIN)


def test_a_folder_of_sockets_that_others_may_enter_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/tmp")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("os.getuid", lambda: 123456)  # of whom the folder is not
    with pytest.raises(DeviceError, match="is not of this user alone"):
        ssh_arguments(ORIN)
    Path("/tmp/secateur-ssh-123456").rmdir()


def test_no_ssh_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="no ssh on this machine"):
        ssh_arguments(ORIN)


def test_greetings_are_passed_over(stand_in: StandIn) -> None:
    assert ask(stand_in.device, "hello")["user"]


@pytest.mark.parametrize(
    ("said", "sentence", "kind"),
    [
        ("No ED25519 host key is known for x and you have requested strict checking.\nHost key verification failed.",
         "is not known here, so nothing was sent: log in once with `ssh -p 2222 user@orin.local`", DeviceError),
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
         r"`ssh-keygen -R \[orin.local\]:2222`", DeviceError),
        ("user@orin: Permission denied (publickey).", "`ssh-copy-id -p 2222 user@orin.local`", DeviceError),
        ("ssh: Could not resolve hostname x: Name or service not known", "cannot be found", ConnectionLostError),
        ("ssh: connect to host x port 2222: Connection refused", "Connection refused", ConnectionLostError),
        ("client_loop: send disconnect: Broken pipe", "Broken pipe", ConnectionLostError),
        ("", "exit 255", ConnectionLostError),
    ],
)  # fmt: skip
def test_ssh_refuses_in_one_sentence(stand_in: StandIn, said: str, sentence: str, kind: type[DeviceError]) -> None:
    stand_in.refuse(said)
    with pytest.raises(DeviceError, match=sentence) as error:
        ask(ORIN, "hello")
    assert type(error.value) is kind and error.value.exit_code == 2 and "\n" not in str(error.value)


def test_a_python_that_is_not_there(stand_in: StandIn) -> None:
    with pytest.raises(DeviceError, match="has no Python at '/opt/none'"):
        ask(replace(stand_in.device, python="/opt/none"), "hello")


def test_a_python_that_is_too_old(stand_in: StandIn) -> None:
    old = stand_in.folder / "python3.6"
    swapped = "v=(3,6,9)".join(['code=$(printf %s "$3" | sed "s/v=sys.version_info/', '/")'])
    old.write_text(f'#!/bin/sh\n{swapped}\nexec {stand_in.device.python} -I -c "$code"\n')
    old.chmod(0o755)
    with pytest.raises(DeviceError, match=r"is too old .*this is 3.6.*--python PATH --replace"):
        ask(replace(stand_in.device, python=str(old)), "hello")


@pytest.mark.parametrize("order", ["take 100", "give 5", f"give {40 + len(HELLO)}"])
def test_a_connection_that_breaks_is_said(stand_in: StandIn, order: str) -> None:
    stand_in.plan(order)
    with pytest.raises(ConnectionLostError, match="run the same command again"):
        ask(stand_in.device, "hello")


def test_endless_greetings_end(stand_in: StandIn) -> None:
    loud = stand_in.folder / "python3"
    loud.write_text("#!/bin/sh\nyes\n")
    loud.chmod(0o755)
    with pytest.raises(DeviceError), Session(replace(stand_in.device, python=str(loud)), {"op": "hello"}):
        pass


def test_what_the_device_says_has_advice() -> None:
    assert "free some space there" in str(told(ORIN, "no-space", "2 bytes are to be pushed, but 1 is free"))
    assert "wait until" in str(told(ORIN, "busy", "root measures here"))
    assert isinstance(explained(ORIN, LOST, ""), ConnectionLostError)
