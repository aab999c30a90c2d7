"""SIGTERM and SIGHUP end a command as Ctrl-C does: temporary files go, and a sentence says what comes next."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path

import pytest

from secateur.pipeline import cli
from secateur.pipeline.cli.stopped import Stopped, stoppable

SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])


@SIGNALS
def test_nothing_is_left_in_the_folder_of_temporary_files(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("WORLD_SIZE", raising=False)

    def works(*words: object, **more: object) -> None:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "features").write_text("half")
            try:
                os.kill(os.getpid(), number)
                time.sleep(10)
            except Exception:  # a stage that goes on after errors
                pytest.fail("the signal was taken for an error")
            finally:
                os.kill(os.getpid(), number)  # again, as systems do: the cleaning up goes on
        pytest.fail("the signal came too late")

    monkeypatch.setattr(cli.cli, "main", works)
    with pytest.raises(SystemExit) as ended:
        cli.main(["recover", "runs/half"])
    assert ended.value.code == 128 + number
    assert capsys.readouterr().err == f"secateur: ended by {number.name}; the same command goes on from here\n"
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(number) == signal.SIG_DFL


@SIGNALS
def test_what_is_ignored_stays_ignored_and_a_launchers_processes_end_at_once(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.signal(number, signal.SIG_IGN)  # as nohup does
    try:
        with stoppable():
            os.kill(os.getpid(), number)
    finally:
        signal.signal(number, before)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with stoppable():
        assert signal.getsignal(number) == before
    monkeypatch.delenv("WORLD_SIZE")
    with pytest.raises(Stopped), stoppable():
        os.kill(os.getpid(), number)
        time.sleep(10)
