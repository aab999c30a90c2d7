"""Files to a device and results from it: what is there already is not sent, and what was cut off goes on."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from secateur.core.errors import ConnectionLostError, DeviceError
from secateur.core.files import sha256_file, sha256_once
from secateur.core.records import checked
from secateur.core.say import Say
from secateur.export.devices.device import Device
from secateur.export.devices.ssh import Session, odd

Source = Path | bytes
"""A file that is pushed, or its content."""
T = TypeVar("T")
CHUNK = 1 << 18


def ask(device: Device, operation: str, **words: Any) -> dict[str, Any]:
    """The answer to a request that has one."""
    with Session(device, {"op": operation, **words}) as session:
        session.finish_sending()
        found = list(islice(session.answers(), 2))
    if not found:
        raise ConnectionLostError(f"{device.name} gave no answer to {operation}: run the same command again")
    if len(found) > 1:
        raise odd(device, found[1])
    return found[0]


def part_of(device: Device, answer: Mapping[str, Any], key: str, kind: type[T]) -> T:
    """What an answer has under a key, as the type that belongs there; raises `DeviceError` for anything else."""
    where = f"the answer of {device.name}: {key}"
    return checked(kind, answer.get(key), where, DeviceError, "update secateur, and run the same command again")


def digests(files: Mapping[str, Source]) -> dict[str, str]:
    """For each name on the device the SHA-256 of its file here; raises `DeviceError` for a file that is not there."""
    for path in files.values():
        if isinstance(path, Path) and not path.is_file():
            raise DeviceError(f"there is no file {path} to push: make it again")
    return {
        name: sha256_once(one) if isinstance(one, Path) else hashlib.sha256(one).hexdigest()
        for name, one in files.items()
    }


def missing(device: Device, named: Mapping[str, str]) -> dict[str, int]:
    """The SHA-256 of each file that the device does not have whole, with the bytes of it that are there."""
    wanted = {*named.values()}
    answer = ask(device, "have", files=sorted(wanted))
    found = part_of(device, answer, "files", dict[str, tuple[bool, int]])
    if {*found} != wanted:
        raise odd(device, min({*found} ^ wanted)[:80])
    return {digest: start for digest, (whole, start) in found.items() if not whole}


def push(device: Device, files: Mapping[str, Source], say: Say) -> dict[str, str]:
    """Sends what the device does not have yet; returns the SHA-256 of each file by its name there.

    Raises `ConnectionLostError` where the connection breaks: what has arrived stays, and the next push goes on.
    """
    named = digests(files)
    sources = {digest: files[name] for name, digest in named.items()}
    sizes = {digest: _size(source) for digest, source in sources.items()}
    rest = [  # more than there is can only be damaged, and is sent anew
        (digest, sizes[digest], start if 0 <= start <= sizes[digest] else 0)
        for digest, start in missing(device, named).items()
    ]
    if not rest:
        return named
    total = sum(size - start for _, size, start in rest)
    with Session(device, {"op": "put", "files": rest}) as session:
        sent = 0
        for digest, _, start in rest:
            with _opened(sources[digest]) as file:
                file.seek(start)
                while data := file.read(CHUNK):
                    session.send(data)
                    sent += len(data)
                    say(f"pushing to {device.name}: {sent / 1e6:.1f} of {total / 1e6:.1f} MB")
        session.finish_sending()
        stored = [answer.get("stored") for answer in islice(session.answers(), len(rest))]
    if len(stored) != len(rest):
        raise ConnectionLostError(f"{device.name} took {len(stored)} of {len(rest)} files: run the same command again")
    return named


def fetch(device: Device, job: str, name: str, size: int, digest: str, path: Path, say: Say) -> None:
    """Writes a result of a job to `path`, whole or not at all; goes on with `<path>.part` where one is left."""
    part = path.with_name(path.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(part.parent).free
    if size > free:
        raise DeviceError(
            f"{name} of {device.name} has {size} bytes, but {free} are free in {part.parent}: make room, or see what "
            "wrote it there"
        )
    start = part.stat().st_size if part.exists() else 0
    if start > size:
        part.unlink()
        start = 0
    if start < size:
        with Session(device, {"op": "get", "job": job, "path": name, "at": start}) as session, part.open("ab") as file:
            session.finish_sending()
            answer = next(session.answers(), {})
            for data in session.read(size - start) if answer.get("bytes") == size - start else ():
                file.write(data)
                say(f"fetching {name} from {device.name}: {file.tell() / 1e6:.1f} of {size / 1e6:.1f} MB")
    else:
        part.touch()
    if part.stat().st_size != size or sha256_file(part) != digest:
        part.unlink()
        raise DeviceError(f"{name} came from {device.name} damaged or cut short: run the same command again")
    part.replace(path)


def _size(source: Source) -> int:
    return source.stat().st_size if isinstance(source, Path) else len(source)


def _opened(source: Source) -> BinaryIO:
    return source.open("rb") if isinstance(source, Path) else BytesIO(source)


def job_name(content: bytes) -> str:
    """The name of a job on a device: the same command on the same files has the same."""
    return hashlib.sha256(content).hexdigest()
