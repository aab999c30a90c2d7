"""What every sensor is reduced to, and the small text files of sysfs that most of them are."""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterable

POWER_W, ENERGY_J, TEMPERATURE_C, CLOCK_MHZ = "power_w", "energy_j", "temperature_c", "clock_mhz"
THROTTLED, THROTTLE_COUNT = "throttled", "throttle_count"
"""`throttled` is 0 where nothing is held back now; `throttle_count` grows each time that something is."""


class SensorError(Exception):
    """A sensor that is there cannot be read; the message says why."""


@dataclass(frozen=True)
class Probe:
    """One number that can be read again and again; `kind` is its unit, or that it tells of throttling.

    A counter of energy begins at 0 again after `wraps_at` (0: never).
    """

    name: str
    kind: str
    read: Callable[[], float]
    wraps_at: float = 0.0


@dataclass(frozen=True)
class Sensors:
    """The probes of one source that can be read, settings that do not change with a run, and what is absent and why."""

    probes: tuple[Probe, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    absent: tuple[tuple[str, str], ...] = ()


def joined(parts: Iterable[Sensors]) -> Sensors:
    """Everything that several sources have; a name that occurs twice gets a number."""
    every = list(parts)
    probes: dict[str, Probe] = {}
    for probe in (one for part in every for one in part.probes):
        name, number = probe.name, 2
        while name in probes:
            name, number = f"{probe.name} {number}", number + 1
        probes[name] = Probe(name, probe.kind, probe.read, probe.wraps_at)
    return Sensors(
        tuple(probes.values()),
        tuple(one for part in every for one in part.settings),
        tuple(one for part in every for one in part.absent),
    )


def readable(probes: Iterable[Probe], absent: Iterable[tuple[str, str]] = ()) -> Sensors:
    """The probes that can be read now; the others are said to be absent, with the reason."""
    good: list[Probe] = []
    bad = list(absent)
    for probe in probes:
        try:
            probe.read()
        except SensorError as error:
            bad.append((probe.name, str(error)))
        else:
            good.append(probe)
    return Sensors(tuple(good), (), tuple(bad))


def text(path: Path) -> str:
    """The content of a small file without the blanks around it; raises `SensorError` where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \t\n")
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            raise SensorError(f"{path} may be read by its owner only: run as root, or let this user read it") from error
        raise SensorError(f"{path} cannot be read ({error.strerror or error})") from error


def number(path: Path, scale: float = 1.0) -> float:
    """The number in a file, times `scale`; raises `SensorError` for anything else."""
    found = text(path)
    try:
        return int(found) * scale
    except ValueError:
        raise SensorError(f"{path} holds {found[:40]!r}, which is no whole number") from None


def file_probe(name: str, kind: str, path: Path, scale: float = 1.0, wraps_at: float = 0.0) -> Probe:
    """A probe that reads the number in a file."""
    return Probe(name, kind, lambda: number(path, scale), wraps_at)


def numbered(folder: Path, pattern: str) -> list[Path]:
    """The paths in `folder` that match, `policy2` before `policy10`; none where there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(folder.glob(pattern), key=lambda path: [int(w) if w.isdigit() else w for w in _words(path)])


def _words(path: Path) -> list[str]:
    return re.split(r"(\d+)", path.name)
