"""Files are written whole or not at all, locks end with their process, and unknown schemas are refused."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from secateur.core import files
from secateur.core.errors import RunError
from secateur.core.files import (
    append_text,
    atomic_path,
    locked,
    read_json,
    sha256_file,
    sha256_json,
    sha256_once,
    write_bytes,
    write_json,
    write_tensors,
    write_text,
)


def test_a_file_is_replaced_when_the_block_ends_well(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.txt"
    with atomic_path(path) as part:
        assert part.parent == path.parent  # a rename inside one file system
        part.write_text("one")
        assert not path.exists()
    assert path.read_text() == "one"
    write_text(path, "zwei ü")
    assert path.read_bytes() == "zwei ü".encode()
    write_bytes(path, b"\0\1")
    assert path.read_bytes() == b"\0\1"
    assert [file.name for file in path.parent.iterdir()] == ["x.txt"]


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt])
def test_the_old_file_stays_when_the_block_fails(error: type[BaseException], tmp_path: Path) -> None:
    write_text(tmp_path / "x", "old")
    with pytest.raises(error), atomic_path(tmp_path / "x") as part:
        part.write_text("half")
        raise error
    assert (tmp_path / "x").read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_the_umask_decides_who_may_read(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        write_text(tmp_path / "x", "text")
        write_tensors(tmp_path / "y", {"a": torch.ones(1)}, {})
    finally:
        os.umask(before)
    for name in ("x", "y"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o666 & ~mask


@contextmanager
def full_disk(after: int) -> Iterator[None]:
    """No file of this process may grow beyond `after` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_is_one_sentence_and_leaves_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "x", "old")
    with full_disk(1000):
        for write in (
            lambda: write_text(tmp_path / "x", "new" * 1000),
            lambda: write_bytes(tmp_path / "x", bytes(3000)),
            lambda: write_json(tmp_path / "x", "test", {"text": "new" * 1000}),
            lambda: write_tensors(tmp_path / "x", {"a": torch.zeros(3000)}, {}),
        ):
            with pytest.raises(RunError, match=r"cannot write .*x: .*; nothing was changed there: free some space"):
                write()
    assert (tmp_path / "x").read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot write"):
        write_text(tmp_path / "file" / "x", "text")


@pytest.mark.parametrize("link", [False, True])
def test_a_device_or_a_pipe_is_not_replaced(link: bool, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for path in (tmp_path / ("link" if link else "pipe"), Path("/dev/secateur-absent")):
        with pytest.raises(RunError, match="a device or a pipe, which a file would replace"):
            write_text(path, "text")
        assert not path.is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe"]


@dataclass(frozen=True)
class Part:
    number: np.int64
    path: Path


def test_text_is_added_to_a_file_that_need_not_exist(tmp_path: Path) -> None:
    append_text(tmp_path / "summary.md", "one\n")
    append_text(tmp_path / "summary.md", "two ±\n")
    assert (tmp_path / "summary.md").read_text(encoding="utf-8") == "one\ntwo ±\n"
    with pytest.raises(RunError, match="absent"):
        append_text(tmp_path / "absent" / "summary.md", "one")


def test_json_has_its_schema_and_comes_back(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", "test", {"part": Part(np.int64(3), Path("a/b")), "array": np.arange(2)})
    expected = {"schema": "secateur.test/1", "part": {"number": 3, "path": "a/b"}, "array": [0, 1]}
    assert read_json(tmp_path / "x.json", "test") == json.loads((tmp_path / "x.json").read_text()) == expected
    with pytest.raises(TypeError, match="object cannot be written as JSON"):
        write_json(tmp_path / "x.json", "test", {"x": object()})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", "test", {"x": float("nan")})
    assert read_json(tmp_path / "x.json", "test") == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"schema": "secateur.test/2"}', "has the schema 'secateur.test/2', but 'secateur.test/1' is needed"),
        (b'{"schema": "secateur.other/1"}', "has the schema 'secateur.other/1'"),
        (b"{}", "has the schema None"),
        (b"[1]", "has the schema None"),
        (b'{"schema": "secateur.test/1"', "is not valid JSON"),
        (b"", "is not valid JSON"),
        (b"\xff\xfe", "is not valid JSON"),
        (b'{"schema": "secateur.test/1", "x": NaN}', "NaN is no number of JSON"),
        (b'{"schema": "secateur.test/1", "x": 1e999}', "1e999 is larger than any number"),
        (b'{"schema": "secateur.test/1", "x": [-1' + b"0" * 400 + b"]}", "is larger than any number"),
        (b"[" * 100_000, "is not valid JSON"),
    ],
)
def test_json_of_another_schema_or_none_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(RunError, match=message):
        read_json(tmp_path / "x.json", "test")


def test_json_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"cannot read .*absent\.json: No such file"):
        read_json(tmp_path / "absent.json", "test")


def test_tensors_come_back_with_their_metadata(tmp_path: Path) -> None:
    write_tensors(tmp_path / "x.safetensors", {"a": torch.arange(3)}, {"format": "pt"})
    assert torch.equal(load_file(tmp_path / "x.safetensors")["a"], torch.arange(3))


def test_the_same_tensors_give_the_same_bytes(tmp_path: Path) -> None:
    metadata = dict.fromkeys("zyxabc", "ü\n")
    found = set()
    for _ in range(10):
        write_tensors(tmp_path / "x", {"b ü\n": torch.ones(2), "a": torch.zeros(1)}, metadata)
        found.add(sha256_file(tmp_path / "x"))
    assert len(found) == 1
    with safe_open(tmp_path / "x", "pt") as file:
        assert file.metadata() == metadata
        assert torch.equal(file.get_tensor("b ü\n"), torch.ones(2))


def test_hashes_are_those_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"content")
    assert sha256_file(tmp_path / "x") == hashlib.sha256(b"content").hexdigest()
    assert sha256_json({"b": 1, "a": [2]}) == hashlib.sha256(b'{"a":[2],"b":1}').hexdigest()
    assert sha256_json({"a": [2], "b": 1}) == sha256_json({"b": 1, "a": (2,)})


def test_a_file_is_hashed_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read = tmp_path / "x", list[Path]()
    monkeypatch.setattr(files, "sha256_file", lambda path: read.append(path) or sha256_file(path))

    def written(content: bytes, seconds_ago: float) -> str:
        path.write_bytes(content)
        then = time.time() - seconds_ago
        os.utime(path, (then, then))
        read.clear()
        return hashlib.sha256(content).hexdigest()

    settled = written(b"one", 100)
    assert [sha256_once(path) for _ in range(3)] == [settled] * 3
    assert len(read) == 1
    assert sha256_once(path) == settled != written(b"two", 50)  # of the same size
    assert sha256_once(path) == hashlib.sha256(b"two").hexdigest()
    for content in (b"abc", b"abd"):  # written within one tick of the clock
        assert written(content, 0) == sha256_once(path) == sha256_once(path)
        assert len(read) == 2


HOLD = "import sys; from pathlib import Path; from secateur.core.files import locked\n"
HOLD += "with locked(Path(sys.argv[1])):\n print('held', flush=True); sys.stdin.read()"


@contextmanager
def held_elsewhere(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    command = [sys.executable, "-P", "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_lock_that_another_process_holds_is_refused_and_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with held_elsewhere(path) as process:
        with pytest.raises(RunError, match=r"^in use$"), locked(path, "in use"):
            pytest.fail("the lock was held")
        process.kill()  # no chance to tidy up
        process.wait()
        with locked(path, "in use"):
            pass
    with locked(path, "in use"):
        pass


def test_a_lock_is_waited_for(tmp_path: Path) -> None:
    path, got = tmp_path / ".lock", threading.Event()

    def wait() -> None:
        with locked(path):
            got.set()

    thread = threading.Thread(target=wait)
    with locked(path):
        thread.start()
        assert not got.wait(0.3)
    assert got.wait(10)
    thread.join()


def test_a_lock_is_given_back_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path / ".lock", "in use"):
        raise KeyError
    with locked(tmp_path / ".lock", "in use"):
        pass
    (tmp_path / "file").write_text("theirs")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with pytest.raises(RunError, match="is a link"), locked(tmp_path / "link", "in use"):
        pass
    assert (tmp_path / "file").read_text() == "theirs"
    with pytest.raises(RunError, match="cannot lock"), locked(tmp_path / "file" / ".lock", "in use"):
        pass


def test_files_are_written_where_folders_cannot_be_synchronised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    monkeypatch.delattr(os, "O_DIRECTORY")
    monkeypatch.setattr(os, "open", lambda *words, **more: opened.append(words))  # Windows refuses folders
    files._sync_directory(tmp_path)
    assert opened == []
