"""The same over a real sshd: keys, hosts, jobs, and connections that are killed."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from secateur.core.errors import DeviceError
from secateur.export.devices.jobs import Job, run_job
from secateur.export.devices.transfer import ask
from tests.export.devices.sshd import Sshd, keygen, missing, serving

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    patch = pytest.MonkeyPatch()
    with serving(tmp_path_factory.mktemp("d"), patch, sys._base_executable) as found:  # type: ignore[attr-defined]  # no venv
        yield found
    patch.undo()


def test_connections_are_killed_and_the_job_goes_on(sshd: Sshd, tmp_path: Path) -> None:
    code = "import time; print('begun', flush=True); time.sleep(1); open('out/result', 'w').write('whole')"
    job = Job(["{python}", "-c", code], {"big": bytes(range(256)) * 4_000})
    said: list[str] = []

    def say(message: str) -> None:
        said.append(message)
        if "begun" in message:
            threading.Thread(target=sshd.drop).start()

    (found,) = run_job(sshd.device, job, tmp_path, say=say, pauses_s=(0.1,) * 5)
    assert found.read_text() == "whole"
    assert any("trying again" in line for line in said), said
    assert said.count("orin: begun") == 1
    assert not list((sshd.folder / "cache/secateur/jobs").iterdir())
    start = time.monotonic()
    run_job(sshd.device, replace(job, argv=["{python}", "-c", "print(1)"]), tmp_path, say=said.append)
    assert time.monotonic() - start < 20 and not any("pushing" in line for line in said[said.index("orin: 1") :])


def test_hosts_and_keys_that_are_wrong_are_refused(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    known, keys = sshd.folder / "known_hosts", sshd.folder / "authorized_keys"
    monkeypatch.setattr(
        "secateur.export.devices.ssh._control_folder", lambda: None
    )  # no connection is left from others
    before = known.read_text(), keys.read_text()
    try:
        known.write_text("")
        with pytest.raises(DeviceError, match="is not known here, so nothing was sent: log in once with"):
            ask(sshd.device, "hello")
        assert known.read_text() == ""
        sshd.new_host_key()
        with pytest.raises(DeviceError, match="is not the one that this machine knows, so nothing was sent"):
            ask(sshd.device, "hello")
        known.write_text(before[0])
        keygen(sshd.folder / "stranger")
        keys.write_text((sshd.folder / "stranger.pub").read_text())
        with pytest.raises(DeviceError, match="does not accept your key"):
            ask(sshd.device, "hello")
    finally:
        known.write_text(before[0])
        keys.write_text(before[1])
    assert ask(sshd.device, "hello")["user"] == sshd.device.user
