"""Jobs on a device: through drops, reboots, kills and busy devices, nothing is half done on either side."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from secateur.core.errors import ConnectionLostError, DeviceError
from secateur.export.devices import agent
from secateur.export.devices.jobs import Job, run_job
from secateur.export.devices.transfer import ask
from tests.export.devices.stand_in_ssh import StandIn

AGENT_BYTES = len(Path(agent.__file__).read_bytes())
WRITES = """
import pathlib, sys, time
print("half way", flush=True)
while pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.01)
out = pathlib.Path("out/deep")
out.mkdir()
(out / "result").write_bytes(pathlib.Path("given").read_bytes() * 2)
print("written")
"""


@pytest.fixture
def wait(tmp_path: Path) -> Path:
    """While this file is there, the job works."""
    return tmp_path / "wait"


@pytest.fixture
def job(tmp_path: Path, wait: Path) -> Job:
    (tmp_path / "given").write_bytes(b"12" * 1000)
    (tmp_path / "main.py").write_text(WRITES)
    return Job(["{python}", "main.py", str(wait)], {n: tmp_path / n for n in ("given", "main.py")})


def run(stand_in: StandIn, job: Job, out: Path, pauses: Sequence[float] = (0.01,), **words: object) -> list[Path]:
    return run_job(stand_in.device, job, out, pauses_s=pauses, **words)  # type: ignore[arg-type]  # as the test says


def left(stand_in: StandIn) -> list[str]:
    """The jobs whose folders are on the device."""
    return sorted(path.name for path in (stand_in.files / "jobs").iterdir())


def test_results_come_back_and_nothing_stays(stand_in: StandIn, job: Job, tmp_path: Path) -> None:
    said: list[str] = []
    (found,) = run(stand_in, job, tmp_path / "out", say=said.append)
    assert found == tmp_path / "out" / "deep" / "result" and found.read_bytes() == b"12" * 2000
    assert "orin: written" in said and left(stand_in) == []


def test_keep_leaves_the_folder_and_the_next_run_is_a_new_one(stand_in: StandIn, job: Job, tmp_path: Path) -> None:
    said: list[str] = []
    run(stand_in, job, tmp_path / "out", say=said.append, keep=True)
    (kept,) = (stand_in.files / "kept").iterdir()
    assert (kept / "work" / "given").exists() and str(kept) in said[-1] and left(stand_in) == []


def test_every_connection_may_break(stand_in: StandIn, job: Job, tmp_path: Path) -> None:
    """After the first contact, those of `have`, `put`, `start`, `follow`, `get` and `clean`, each in the middle."""
    put = f"take {AGENT_BYTES + 1200}"
    stand_in.plan("ok", "give 80", "ok", put, "ok", "ok", "give 80", "ok", "give 80", "ok", "give 700", "ok", "give 60")
    said: list[str] = []
    (found,) = run(stand_in, job, tmp_path / "out", (0.01, 0.01), say=said.append)
    assert found.read_bytes() == b"12" * 2000 and left(stand_in) == []
    assert [path.name for path in found.parent.iterdir()] == ["result"]
    assert sum("trying again" in line for line in said) == 6


def test_the_same_command_takes_up_a_job_that_runs(stand_in: StandIn, job: Job, tmp_path: Path, wait: Path) -> None:
    wait.touch()
    stand_in.plan(*["ok"] * 4, "give 80")
    with pytest.raises(ConnectionLostError, match="run the same command again"):
        run(stand_in, job, tmp_path / "out", pauses=())
    assert len(left(stand_in)) == 1 and not (tmp_path / "out").exists()
    threading.Timer(0.1, wait.unlink).start()
    said: list[str] = []
    run(stand_in, job, tmp_path / "out", say=said.append)
    assert said.count("orin: half way") == 1 and left(stand_in) == []


def test_a_device_that_is_off_is_said_at_once(stand_in: StandIn, job: Job, tmp_path: Path) -> None:
    stand_in.refuse("ssh: connect to host orin.local port 22: No route to host")
    with pytest.raises(ConnectionLostError, match="No route to host"):
        run(stand_in, job, tmp_path / "out", pauses=(9.0,) * 9)
    assert stand_in.calls == 1


def test_two_do_not_measure_at_once(stand_in: StandIn, job: Job, tmp_path: Path, wait: Path) -> None:
    wait.touch()
    stand_in.plan(*["ok"] * 4, "give 80")
    with pytest.raises(ConnectionLostError):
        run(stand_in, job, tmp_path / "out", pauses=())
    other = Job(["{python}", "main.py", "other"], job.files)
    with pytest.raises(DeviceError, match=r"measures here .*wait until that has ended"):
        run(stand_in, other, tmp_path / "out")
    assert len(left(stand_in)) == 1
    wait.unlink()
    run(stand_in, job, tmp_path / "out")
    run(stand_in, other, tmp_path / "out")


def test_a_job_that_died_is_said_and_the_next_one_starts_afresh(
    stand_in: StandIn, job: Job, tmp_path: Path, wait: Path
) -> None:
    wait.touch()
    stand_in.plan(*["ok"] * 4, "give 80")
    with pytest.raises(ConnectionLostError):
        run(stand_in, job, tmp_path / "out", pauses=())
    folder = stand_in.files / "jobs" / left(stand_in)[0]
    until = time.monotonic() + 10
    while not (folder / "pid").exists() and time.monotonic() < until:
        time.sleep(0.01)
    os.killpg(int((folder / "pid").read_text()), signal.SIGKILL)
    (folder / "boot").write_text("before this start")
    with pytest.raises(DeviceError, match="started anew"):
        run(stand_in, job, tmp_path / "out")
    assert left(stand_in) == [] and not (tmp_path / "out").exists()
    wait.unlink()
    assert len(run(stand_in, job, tmp_path / "out")) == 1


def test_a_job_that_fails_says_its_last_line(stand_in: StandIn, tmp_path: Path) -> None:
    code = "print('first'); open('out/half', 'w'); raise SystemExit('no TensorRT here: install it')"
    with pytest.raises(DeviceError, match="orin: no TensorRT here: install it"):
        run(stand_in, Job(["{python}", "-c", code], {}), tmp_path / "out")
    assert left(stand_in) == [] and not (tmp_path / "out").exists()


def test_a_program_that_is_not_there_is_said(stand_in: StandIn, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="/opt/none"):
        run(stand_in, Job(["/opt/none"], {}), tmp_path / "out")


def test_jobs_can_be_stopped(stand_in: StandIn, job: Job, tmp_path: Path, wait: Path) -> None:
    wait.touch()
    stand_in.plan(*["ok"] * 4, "give 80")
    with pytest.raises(ConnectionLostError):
        run(stand_in, job, tmp_path / "out", pauses=())
    assert len(ask(stand_in.device, "stop")["stopped"]) == 1
    assert left(stand_in) == []
    wait.unlink()
    run(stand_in, job, tmp_path / "out")


END = '{"state": "done", "at": 0, "code": 0, "files": [%s]}'


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (END % '["../escaped", 1, "0"]', "leads out of the bundle: nothing was written"),
        (END % '["/etc/escaped", 1, "0"]', "no absolute paths"),
        (END % r'["a\u001b[2J\u0000", 1, "0"]', "a name is made of letters"),
        (END % '["a", -1, "0"]', "a result of -1 bytes"),
        (END % ", ".join(['["a", 1, "0"]'] * 2000), "answered '2000 results"),
        (END % "3", "files.0"),
        ('{"state": "won"}', "state"),
        ('{"log": 3, "at": 0}', "log"),
        ('{"log": "x"}', "at"),
    ],
)
def test_a_device_cannot_write_where_it_likes_nor_end_as_it_likes(
    end: str, words: str, stand_in: StandIn, tmp_path: Path
) -> None:
    device = stand_in.lies(have='{"files": {}}', start="{}", follow=end, clean='{"kept": ""}')
    with pytest.raises(DeviceError, match=words):
        run_job(device, Job(["true"], {}), tmp_path / "out", pauses_s=())
    assert not (tmp_path / "out").exists()


def test_other_results_than_the_job_has_are_not_fetched(stand_in: StandIn, job: Job, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="answered '1 results, deep/result'"):
        run(stand_in, replace(job, results=("result",)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_long_line_of_a_log_is_cut(stand_in: StandIn, tmp_path: Path) -> None:
    with pytest.raises(DeviceError) as error:
        run(stand_in, Job(["{python}", "-c", "print('x' * 100000); exit(1)"], {}), tmp_path / "out")
    assert len(str(error.value)) < 1100
