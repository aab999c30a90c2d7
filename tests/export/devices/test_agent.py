"""The program that runs on the device, called here."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from secateur.export.devices import agent

DATA = b"a file that is pushed" * 100
DIGEST = hashlib.sha256(DATA).hexdigest()
JOB = "0" * 64


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("SECATEUR_LOCK", str(tmp_path / "lock"))
    return agent.home() / "store"


def answers(op: str, incoming: bytes = b"", **words: Any) -> list[dict[str, Any]]:
    return list(agent.OPERATIONS[op]({"op": op, **words}, io.BytesIO(incoming)))


def test_it_needs_the_standard_library_alone() -> None:
    tree = ast.parse(Path(agent.__file__).read_text())
    names = [one.names[0].name for one in ast.walk(tree) if isinstance(one, ast.Import)]
    names += [str(one.module) for one in ast.walk(tree) if isinstance(one, ast.ImportFrom)]
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def test_a_push_that_was_cut_off_goes_on(store: Path) -> None:
    assert answers("have", files=[DIGEST]) == [{"files": {DIGEST: [False, 0]}}]
    assert answers("put", DATA[:500], files=[[DIGEST, len(DATA), 0]]) == []
    assert answers("have", files=[DIGEST]) == [{"files": {DIGEST: [False, 500]}}]
    assert answers("put", DATA[500:], files=[[DIGEST, len(DATA), 500]]) == [{"stored": DIGEST}]
    assert answers("have", files=[DIGEST]) == [{"files": {DIGEST: [True, 0]}}]
    assert (store / DIGEST).read_bytes() == DATA and [path.name for path in store.iterdir()] == [DIGEST]


def test_a_damaged_push_leaves_nothing(store: Path) -> None:
    with pytest.raises(agent.AgentError, match="damaged"):
        answers("put", b"?" + DATA[1:], files=[[DIGEST, len(DATA), 0]])
    assert not list(store.iterdir())


def test_no_space_is_said_before_anything_is_sent(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    with pytest.raises(agent.AgentError, match="2100 bytes are to be pushed, but 100 are free") as error:
        answers("put", DATA, files=[[DIGEST, len(DATA), 0]])
    assert error.value.kind == "no-space" and not list(store.iterdir())


@pytest.mark.parametrize(
    ("op", "words"),
    [
        ("have", {"files": ["../../etc/passwd"]}),
        ("put", {"files": [["x", 1, 0]]}),
        ("start", {"job": "../x", "files": {}, "argv": []}),
        ("start", {"job": JOB, "files": {"../x": DIGEST}, "argv": []}),
        ("start", {"job": JOB, "files": {"/etc/x": DIGEST}, "argv": []}),
        ("get", {"job": JOB, "path": "../../secret", "at": 0}),
        ("clean", {"job": "."}),
    ],
)
def test_nothing_leads_out_of_its_folder(op: str, words: dict[str, Any]) -> None:
    with pytest.raises(agent.AgentError) as error:
        answers(op, **words)
    assert error.value.kind == "bad-request"


@pytest.mark.parametrize(("booted", "found"), [("", "killed"), ("before", "rebooted")])
def test_a_job_without_its_process_is_dead(store: Path, booted: str, found: str) -> None:
    job = store.parent / "jobs" / JOB
    job.mkdir()
    (job / "boot").write_text(booted or agent.boot())
    assert agent.state(job) == found
    (job / "code").write_text("0")
    assert agent.state(job) == "done"


def test_files_that_nobody_used_for_long_go(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (store / DIGEST).write_bytes(DATA)
    answers("clean", job=JOB)
    assert (store / DIGEST).exists()
    monkeypatch.setattr(agent.time, "time", lambda: (store / DIGEST).stat().st_mtime + agent.OLD + 1)
    answers("clean", job=JOB)
    assert not (store / DIGEST).exists()


def test_it_says_what_the_machine_is(store: Path) -> None:
    (store / DIGEST).write_bytes(DATA)
    (found,) = answers("hello")
    assert found["stored_bytes"] == len(DATA) and found["packages"]["numpy"] and found["jobs"] == []


def test_an_error_is_a_line(store: Path) -> None:
    done = subprocess.run(
        [sys.executable, agent.__file__], input=b'{"op": "clean", "job": "?"}\n', capture_output=True, check=True
    )
    hello, answer = done.stdout.decode().strip().splitlines()
    assert hello == agent.HELLO and json.loads(answer)["error"] == "bad-request"


def test_wipe_leaves_nothing(store: Path) -> None:
    answers("wipe")
    assert not store.parent.exists()
