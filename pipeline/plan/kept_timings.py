"""Savings kept in a file as they are measured, so that a profile that was stopped goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from secateur.benchmarks.runners import Subject
from secateur.core.files import sha256_json
from secateur.core.records import read_record, write_record
from secateur.core.say import Say
from secateur.pipeline.plan.timing import Saved, Timing

KIND = "profile_part"
Opened = Callable[[], Subject]


@dataclass(frozen=True)
class Part:
    """What was measured before a profile was stopped: savings by name, all of one model, target, machine and way."""

    identity: str
    saved: Mapping[str, Saved] = field(default_factory=dict)


class KeptTimings:
    """Measures savings, each once, and says how many of `total` there are; without a `path`, nothing is kept.

    What is in the file counts where it has the same `identity`: everything that the times depend on. Raises `RunError`
    for a file that cannot be read.
    """

    def __init__(
        self, path: Path | None = None, identity: object = None, total: int = 0, say: Say = lambda message: None
    ) -> None:
        self._path, self._total, self._say, self._count = path, total, say, 0
        self._identity = sha256_json(identity)
        self._known: dict[str, Saved] = {}
        if path is not None and path.exists():
            part = read_record(path, KIND, Part, remedy="remove it, and everything is measured anew")
            if part.identity == self._identity:
                self._known.update(part.saved)
                say(f"going on after {len(self._known)} measurements of before")
            else:
                say("what was measured before is of another model, machine or way to measure, and is left out")

    def saved(self, name: str, timing: Timing, one: Opened, other: Opened) -> Saved:
        """What `other` takes less than `one`, measured where it is not known; only then are they made."""
        self._count += 1
        self._say(f"{self._count} of {max(self._total, self._count)}: {name}")
        if name not in self._known:
            self._known[name] = timing.saved(one(), other())
            if self._path is not None:
                write_record(self._path, KIND, Part(self._identity, self._known))
        return self._known[name]

    def finish(self) -> None:
        """Removes the file: its owner has everything."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
