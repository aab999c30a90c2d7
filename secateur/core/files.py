"""Files as every stage writes them: atomically, with a schema, and hashed by content."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from secateur.core.errors import RunError
from secateur.core.json_text import read_json_text

if TYPE_CHECKING:
    from torch import Tensor

SETTLED_NS = 2 * 10**9
"""How long ago a file must have been written for its time of change to tell the next change from it."""

LEFTOVER = r"\..+\.secateur-[0-9a-f]{16}\.part"
"""The names of temporary files (and of what libraries make of them), by which no other program calls its own."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that replaces it when the block ends well, and vanishes when it does not.

    The file is flushed to disk before the rename, so that a crash leaves the old file or the new one. A failure
    of the disk (full, read-only) is raised as `RunError` with the old file untouched, and so is a `path` that is no
    file but a device or a pipe, which would be replaced as well.
    """
    path = Path(path)
    if path.absolute().parent == Path("/dev") or (path.exists() and not (path.is_file() or path.is_dir())):
        raise RunError(f"{path} is a device or a pipe, which a file would replace: name a file, or a new one")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = temporary_path(path)
        part.touch(0o666, exist_ok=False)
        mode = stat.S_IMODE(part.stat().st_mode)  # less the umask, as for any new file
    except OSError as error:
        raise _disk_error(path, error) from error
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.chmod(mode)  # safetensors makes a file of its own, for its owner alone
        part.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        raise _disk_error(path, error) from error
    finally:
        part.unlink(missing_ok=True)


def temporary_path(path: Path) -> Path:
    """A new name beside `path` for what becomes it, by which `remove_leftovers` knows it."""
    return path.with_name(f".{path.name}.secateur-{secrets.token_hex(8)}.part")


def remove_leftovers(folder: Path) -> None:
    """Removes the temporary files and folders below `folder` that killed processes left there, known by their names.

    No other process may be writing there. Hidden folders, such as `.git`, are not looked into, and links not followed.
    """
    for place, folders, names in os.walk(folder):
        for name in filter(re.compile(LEFTOVER).fullmatch, (*folders, *names)):
            leftover = Path(place, name)
            if leftover.is_dir() and not leftover.is_symlink():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()
        folders[:] = [name for name in folders if not name.startswith(".")]


@contextmanager
def locked(path: Path, busy: str = "") -> Iterator[None]:
    """Holds the lock file `path` for this process; the lock ends with the process, however it ends.

    Where another process holds it, that one is waited for, unless `busy` says what to raise a `RunError` with. A link
    is refused: opening it would empty what it leads to.
    """
    if path.is_symlink():
        raise RunError(f"{path} is a link, and locking it would empty what it leads to: remove it")
    lock = FileLock(path, timeout=0 if busy else -1, fallback_to_soft=False)  # a soft lock would outlive its process
    try:
        lock.acquire()
    except Timeout:
        raise RunError(busy) from None
    except (OSError, NotImplementedError) as error:
        raise RunError(f"cannot lock {path}: {error}; choose a folder on a file system with locks") from error
    try:
        yield
    finally:
        lock.release()


def write_text(path: Path, text: str) -> None:
    """Writes `text` as UTF-8, atomically."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def append_text(path: Path, text: str) -> None:
    """Adds `text` as UTF-8 to what a file holds that others write to as well; it need not exist."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise _disk_error(path, error) from error


def write_bytes(path: Path, data: bytes) -> None:
    """Writes `data`, atomically."""
    with atomic_path(path) as part:
        part.write_bytes(data)


def write_json(path: Path, kind: str, content: Mapping[str, Any]) -> None:
    """Writes `content` as JSON under the schema `secateur.<kind>/1`, atomically; dataclasses become objects."""
    document = {"schema": f"secateur.{kind}/1", **content}
    write_text(path, json.dumps(document, indent=1, default=_plain, allow_nan=False) + "\n")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes `tensors` as safetensors, atomically; the same content gives the same bytes."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with atomic_path(path) as part:
        try:
            save_file(dict(tensors), part, metadata=dict(metadata))
            _sort_metadata(part)
        except SafetensorError as error:  # the library's own name for a failed write
            raise _disk_error(path, OSError(str(error))) from error


def _sort_metadata(path: Path) -> None:
    """Puts the metadata of a safetensors file in order: the library writes them in one that changes from run to run.

    The file begins with the header's length (8 bytes, little-endian) and the header, JSON padded with spaces.
    """
    with path.open("rb+") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        if "__metadata__" in header:
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(size)
        if len(text) == size:  # only an exotic name of a tensor is spelt differently here
            file.seek(8)
            file.write(text)


def read_json(path: Path, kind: str) -> dict[str, Any]:
    """The content of a JSON file of the schema `secateur.<kind>/1`.

    Raises `RunError` when the file is absent, is not JSON, or names another schema.
    """
    try:
        document = read_json_text(path)
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise RunError(f"{path} is not valid JSON ({error}): restore the file or make it again") from error
    wanted = f"secateur.{kind}/1"
    found = document.get("schema") if isinstance(document, dict) else None
    if not isinstance(document, dict) or found != wanted:
        raise RunError(f"{path} has the schema {found!r}, but {wanted!r} is needed: was it made by another version?")
    return document


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file as 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_once(path: Path) -> str:
    """The SHA-256 of a file, read once in this process as long as its size and its time of change stay the same.

    A file that has just been written may be written again within one tick of the clock, and is read every time.
    """
    about = Path(path).stat()
    if time.time_ns() - about.st_mtime_ns < SETTLED_NS:
        return sha256_file(path)
    return _sha256_of(str(Path(path).resolve()), about.st_size, about.st_mtime_ns, about.st_ino)


@lru_cache(maxsize=4096)
def _sha256_of(path: str, size: int, mtime_ns: int, inode: int) -> str:
    return sha256_file(Path(path))


def sha256_json(content: Any) -> str:
    """The SHA-256 of a value's canonical JSON (sorted keys, no spaces)."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _sync_directory(folder: Path) -> None:
    """Puts on disk which files a folder has, where the system can (Windows cannot)."""
    if (flag := getattr(os, "O_DIRECTORY", None)) is None:
        return
    descriptor = os.open(folder, os.O_RDONLY | flag)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _disk_error(path: Path, error: OSError) -> RunError:
    return RunError(
        f"cannot write {path}: {error.strerror or error}; nothing was changed there: "
        "free some space or choose another --out, then run the same command again"
    )
