"""Files to a device and results from it: what is there already is not sent, and what was cut off goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from secateur.core.errors import ConnectionLostError, DeviceError
from secateur.core.files import sha256_file, sha256_once
from secateur.export.devices.device import Device
from secateur.export.devices.ssh import Session

Source = Path | bytes
"""A file that is pushed, or its content."""
Say = Callable[[str], None]
CHUNK = 1 << 18


def ask(device: Device, operation: str, **words: Any) -> dict[str, Any]:
    """The answer to a request that has one."""
    with Session(device, {"op": operation, **words}) as session:
        session.finish_sending()
        (found,) = session.answers()
    return found


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
    found = ask(device, "have", files=sorted({*named.values()}))["files"]
    return {digest: start for digest, (whole, start) in found.items() if not whole}


def push(device: Device, files: Mapping[str, Source], say: Say) -> dict[str, str]:
    """Sends what the device does not have yet; returns the SHA-256 of each file by its name there.

    Raises `ConnectionLostError` where the connection breaks: what has arrived stays, and the next push goes on.
    """
    named = digests(files)
    sources = {digest: files[name] for name, digest in named.items()}
    rest = [(digest, _size(sources[digest]), start) for digest, start in missing(device, named).items()]
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
        stored = [answer["stored"] for answer in session.answers()]
    if len(stored) != len(rest):
        raise ConnectionLostError(f"{device.name} took {len(stored)} of {len(rest)} files: run the same command again")
    return named


def fetch(device: Device, job: str, name: str, size: int, digest: str, path: Path, say: Say) -> None:
    """Writes a result of a job to `path`, whole or not at all; goes on with `<path>.part` where one is left."""
    part = path.with_name(path.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    start = part.stat().st_size if part.exists() else 0
    if start > size:
        part.unlink()
        start = 0
    if start < size:
        with Session(device, {"op": "get", "job": job, "path": name, "at": start}) as session, part.open("ab") as file:
            session.finish_sending()
            answers = session.answers()
            for data in session.read(int(next(answers)["bytes"])):
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
