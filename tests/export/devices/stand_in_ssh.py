"""A stand-in for ssh and for the device behind it: the remote command runs here, in a home of its own.

It can be told to refuse, and to drop the connection after so many bytes in one direction.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from secateur.export.devices.device import Device
from secateur.export.devices.ssh import HELLO

SCRIPT = """#!/bin/sh
while [ "$1" != "--" ]; do shift; done
shift; shift  # the host
D={folder}
PUMP='import os,sys
left=int(sys.argv[1])
while left and (data := os.read(0, left)): left -= os.write(1, data)'
echo x >> $D/calls
if [ -f $D/refuse ]; then cat $D/refuse >&2; exit 255; fi
export HOME=$D/home SECATEUR_LOCK=$D/lock
unset XDG_CACHE_HOME XDG_CONFIG_HOME
echo "Welcome to a device that greets"
order=$(head -n 1 $D/plan); sed -i 1d $D/plan
case "$order" in
  take*) {python} -ISc "$PUMP" ${{order#take }} | sh -c "$*"; exit 255;;
  give*) sh -c "$*" | {python} -ISc "$PUMP" ${{order#give }}; exit 255;;
esac
exec sh -c "$*"
"""


LIAR = """#!{python} -IS
import json, sys
stream = sys.stdin.buffer
stream.read(int(stream.readline()))
answers = json.loads(open({path!r}).read())
print({hello!r}, flush=True)
print(answers[json.loads(stream.readline())["op"]], flush=True)
"""


class StandIn:
    """The device, and what its ssh is told to do."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.home.mkdir(parents=True)
        (folder / "plan").touch()
        program = folder / "bin" / "ssh"
        program.parent.mkdir()
        program.write_text(SCRIPT.format(folder=folder, python=sys.executable))
        program.chmod(0o755)
        self.device = Device("orin", "orin.local", "user", python=sys._base_executable)  # type: ignore[attr-defined]  # starts faster than a virtual environment

    def plan(self, *orders: str) -> None:
        """What the next calls do: `ok`, `take N` (N bytes reach the device), `give N` (N bytes come back)."""
        (self.folder / "plan").write_text("".join(f"{order}\n" for order in orders))

    def refuse(self, said: str) -> None:
        """Every call fails with that message of ssh's."""
        (self.folder / "refuse").write_text(said)

    def lies(self, **answers: str) -> Device:
        """The device with another agent, which gives these lines as its answer to each request."""
        program, path = self.folder / "liar", self.folder / "answers.json"
        path.write_text(json.dumps(answers))
        program.write_text(LIAR.format(python=self.device.python, path=str(path), hello=HELLO))
        program.chmod(0o755)
        return replace(self.device, python=str(program))

    @property
    def calls(self) -> int:
        """How often ssh was called."""
        path = self.folder / "calls"
        return path.read_text().count("x") if path.exists() else 0

    @property
    def files(self) -> Path:
        """What secateur has on the device."""
        return self.home / ".cache" / "secateur"


def installed(folder: Path, patch: pytest.MonkeyPatch) -> StandIn:
    """A stand-in that is found before ssh, with the user's settings beside it."""
    made = StandIn(folder)
    patch.setenv("PATH", f"{folder / 'bin'}:/usr/bin:/bin")
    patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    return made
