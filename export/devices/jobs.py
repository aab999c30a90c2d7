"""A job on a device: pushed, started apart from the connection, followed, fetched, and cleaned up.

Where the connection breaks the job goes on; this process connects again for a while, and after that the same command
takes the job up where it is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from secateur.core.errors import ConnectionLostError, DeviceError
from secateur.core.records import parse_record
from secateur.core.say import Say
from secateur.export.devices.device import Device
from secateur.export.devices.ssh import SAID, Session, odd
from secateur.export.devices.transfer import Source, ask, digests, fetch, job_name, missing, part_of, push
from secateur.export.runner.errors import BundleError
from secateur.export.runner.names import checked_name

RESULTS = 1000
"""The most files that a job may bring back."""
PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds before each new try of a connection that broke."""

T = TypeVar("T")


@dataclass(frozen=True)
class End:
    """How a job ended: the program's exit code where it was `done`, and of each result the name, size and SHA-256."""

    state: Literal["done", "killed", "rebooted"]
    at: int
    code: int | None = None
    files: tuple[tuple[str, int, str], ...] = ()


@dataclass(frozen=True)
class Job:
    """A command line, run in a folder that has `files` by their relative names; it writes its `results` into `out/`.

    The word `{python}` is the device's interpreter. Without names of `results` whatever is there counts.
    """

    argv: Sequence[str]
    files: Mapping[str, Source]
    results: tuple[str, ...] = ()


def run_job(
    device: Device,
    job: Job,
    out: Path,
    *,
    keep: bool = False,
    say: Say = lambda message: None,
    pauses_s: Sequence[float] = PAUSES_S,
) -> list[Path]:
    """Runs a job on a device and brings its results into the folder `out`; returns their paths.

    A job of the same command and the same files that runs there already, or whose results wait, is taken up. With
    `keep` its folder stays on the device. Raises `DeviceError` where it fails, with the last line that it wrote.
    """
    named = digests(job.files)
    name = job_name(json.dumps([list(job.argv), named, device.python], sort_keys=True).encode())

    def steadily(step: Callable[[], T]) -> T:
        return _steadily(step, device, pauses_s, say)

    if missing(device, named):  # asked once: a device that cannot be reached at all is said at once
        steadily(partial(push, device, job.files, say))
    steadily(lambda: ask(device, "start", job=name, argv=list(job.argv), files=named))
    at, last = 0, ""

    def follow() -> End:
        nonlocal at, last
        with Session(device, {"op": "follow", "job": name, "at": at}) as session:
            session.finish_sending()
            for answer in session.answers():
                if "log" in answer:
                    at = part_of(device, answer, "at", int)
                    lines = [line[:SAID] for line in part_of(device, answer, "log", str).splitlines() if line.strip()]
                    last = lines[-1] if lines else last
                    for line in lines:
                        say(f"{device.name}: {line}")
                if "state" in answer:
                    return parse_record(End, answer, f"the answer of {device.name}", DeviceError, "update secateur")
        raise ConnectionLostError(f"{device.name} ended in the middle: run the same command again")

    def clean() -> str:
        return part_of(device, steadily(lambda: ask(device, "clean", job=name, keep=keep)), "kept", str)

    end = steadily(follow)
    if end.state != "done" or end.code != 0:
        raise DeviceError(_failure(device, end, last, clean()))
    if len(end.files) > RESULTS or (job.results and {name for name, _, _ in end.files} != {*job.results}):
        raise odd(device, f"{len(end.files)} results, {', '.join(name for name, _, _ in end.files[:5])}"[:SAID])
    fetched = []
    for path, size, digest in end.files:
        if size < 0:
            raise odd(device, f"a result of {size} bytes")
        target = out / _inside(device, path)
        steadily(partial(fetch, device, name, path, size, digest, target, say))
        fetched.append(target)
    if kept := clean():
        say(f"kept on {device.name} in {kept}")
    return fetched


def _failure(device: Device, end: End, last: str, kept: str) -> str:
    stays = f"; its files are in {kept}" if kept else ""
    if end.state == "rebooted":
        return (
            f"{device.name} started anew while it worked, and nothing is left of it: run the same command again{stays}"
        )
    if end.state == "killed":
        return (
            f"the work on {device.name} was killed (such as for want of memory) after it wrote {last!r}: free some "
            f"memory there, then run the same command again{stays}"
        )
    return f"{device.name}: {last or 'it failed without a message'}{stays}"


def _steadily(step: Callable[[], T], device: Device, pauses_s: Sequence[float], say: Say) -> T:
    """What `step` gives, tried again where the connection breaks."""
    for pause in pauses_s:
        try:
            return step()
        except ConnectionLostError as error:
            say(f"{error}; trying again in {pause:g} s")
            time.sleep(pause)
    return step()


def _inside(device: Device, name: str) -> Path:
    """A result's relative path, which may not lead out of the folder it goes to."""
    try:
        return Path(checked_name(name, f"the answer of {device.name}"))
    except BundleError as error:
        raise DeviceError(f"{error}: nothing was written") from error
