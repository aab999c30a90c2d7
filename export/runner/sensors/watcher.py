"""Starts the watching process beside a measurement, and reads what it saw: never more than it did see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from .probe import SensorError

INTERVAL = 0.1
"""Seconds between two rounds of readings."""

GAP = 1.0
"""Seconds without a round after which a run counts as unwatched."""

START = 30.0
"""Seconds that the first round may take: `nvpmodel` and NVML are slow to answer the first time."""


@dataclass(frozen=True)
class Series:
    """What one probe said: times in seconds of the monotonic clock, and values in the unit of its `kind`."""

    name: str
    kind: str
    wraps_at: float
    times: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Log:
    """What a watcher saw: one series a probe, the times of all rounds, the settings before and after.

    `whole` is False where the watcher died, and `settings_after` empty then.
    """

    series: tuple[Series, ...]
    rounds: tuple[float, ...]
    settings: dict[str, str]
    settings_after: dict[str, str]
    absent: dict[str, str]
    failed: dict[str, str]
    whole: bool

    def faults(self, start: float, end: float) -> list[str]:
        """Why the time from `start` to `end` was not watched from end to end, as sentences; none where it was."""
        found: list[str] = []
        if not self.whole:
            found.append("the watcher of the sensors died before it was told to end")
        times = [at for at in self.rounds if start - GAP <= at <= end + GAP]
        inside = [start, *(at for at in times if start < at < end), end]
        widest = max(after - before for before, after in zip(inside, inside[1:]))
        if not times or widest > GAP:
            found.append(f"the sensors were not read for {widest:.1f} s of the run; {GAP:g} s are allowed")
        found += [f"{name} could not be read in some rounds: {why}" for name, why in self.failed.items()]
        if self.whole:
            names = dict.fromkeys([*self.settings, *self.settings_after])
            pairs = [(name, self.settings.get(name), self.settings_after.get(name)) for name in names]
            found += [f"{name} changed from {old} to {new}" for name, old, new in pairs if old != new]
        return found


class Watcher:
    """The watching process as a context manager; `log` has what it saw once the block is left."""

    def __init__(self, interval: float = INTERVAL, root: Path = Path("/")) -> None:
        self._interval, self._root = interval, root
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.log: Log | None = None

    def __enter__(self) -> Watcher:
        self._folder = tempfile.TemporaryDirectory()
        module = __name__.rpartition(".")[0] + ".watch"
        command = [sys.executable, "-m", module, "--out", str(self._path), "--interval", str(self._interval)]
        places = os.pathsep.join(place for place in sys.path if place)
        self.process = subprocess.Popen(
            [*command, "--root", str(self._root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": places},
        )
        try:
            self._wait_for_the_first_round()
        except BaseException:
            self.process.kill()
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def kinds(self) -> set[str]:
        """The kinds of probes that can be read here."""
        with self._path.open(encoding="utf-8") as lines:
            return {kind for _, kind, _ in json.loads(lines.readline())["probes"]}

    @property
    def seen(self) -> Log:
        """What it saw, once the block is left; raises `SensorError` where there is nothing."""
        if self.log is None:
            raise SensorError("the watcher of the sensors left nothing behind: run the same command again")
        return self.log

    @property
    def _path(self) -> Path:
        assert self._folder is not None  # for the type checker: it is made on entering
        return Path(self._folder.name) / "rounds.jsonl"

    def _wait_for_the_first_round(self) -> None:
        assert self.process is not None  # for the type checker: it is started before
        until = time.monotonic() + START
        while not (self._path.exists() and self._path.read_text(encoding="utf-8").count("\n") >= 3):
            if self.process.poll() is not None or time.monotonic() > until:
                self.process.kill()
                said = self.process.communicate()[1].decode(errors="replace").strip().splitlines()
                raise SensorError(f"the watcher of the sensors does not start ({said[-1] if said else 'no answer'})")
            time.sleep(0.01)

    def _end(self) -> None:
        assert self.process is not None and self._folder is not None  # for the type checker: started on entering
        alive = self.process.poll() is None
        try:
            self.process.communicate(timeout=START)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
        lines = self._path.read_text(encoding="utf-8") if self._path.exists() else ""
        self._folder.cleanup()
        self.log = read_log(lines, ended=alive and self.process.returncode == 0)


def read_log(lines: str, ended: bool) -> Log:
    """What a watcher wrote; a line that was cut short by its death is left out. `ended`: it ended when told to."""
    found: list[dict[str, Any]] = []
    for line in lines.splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:  # only the last one can be cut
            ended = False
    probes: list[list[Any]] = next((one["probes"] for one in found if "probes" in one), [])
    said = [one for one in found if "settings" in one]
    rounds = [one for one in found if "t" in one]
    series = []
    for index, (name, kind, wraps_at) in enumerate(probes):
        read = [(one["t"], one["values"][index]) for one in rounds if one["values"][index] is not None]
        series.append(Series(name, kind, wraps_at, tuple(t for t, _ in read), tuple(v for _, v in read)))
    whole = ended and len(said) > 1 and bool(said[-1].get("end"))
    return Log(
        series=tuple(series),
        rounds=tuple(one["t"] for one in rounds),
        settings=dict(said[0]["settings"]) if said else {},
        settings_after=dict(said[-1]["settings"]) if whole else {},
        absent=dict(said[0]["absent"]) if said else {},
        failed={name: why for one in rounds for name, why in one["failed"].items()},
        whole=whole,
    )
