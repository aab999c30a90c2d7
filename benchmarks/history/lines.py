"""The lines of a history: one measure over the commits, as far as its values may be compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from secateur.benchmarks.history.entry import Entry, Value


@dataclass(frozen=True)
class Line:
    """Values of one measure of one result, the oldest first, each with its commit and the machine that it is of."""

    name: str
    kind: tuple[tuple[str, str], ...]
    values: tuple[Value, ...]
    commits: tuple[str, ...]
    machines: tuple[str, ...]

    @property
    def title(self) -> str:
        """What it is of, as a table shows it."""
        first = self.values[0]
        machines = ", ".join(dict.fromkeys(self.machines))
        on = f" on {machines}" if first.target else ""
        return f"{self.name}: {first.measure}{f', {first.where}' if first.where else ''}{on}"


def lines_of(entries: Iterable[Entry], measures: Sequence[str] = ()) -> list[Line]:
    """All lines of entries in the order of time; with `measures` those alone.

    Values are in one line where name, measure, target and batch agree, and what `Entry.kind` asks for. Of several
    machines that measured one commit, each gives a value.
    """
    found: dict[tuple[object, ...], list[tuple[Entry, Value]]] = {}
    for entry in entries:
        for value in entry.values:
            if not measures or value.measure in measures:
                key = (entry.name, value.measure, value.target, value.batch, value.unit, entry.kind(value))
                found.setdefault(key, []).append((entry, value))
    lines = []
    for members in found.values():
        first, value = members[0]
        if not value.target:  # whatever machine counted it, it is of the commit
            members = list({(entry.commit, one.value): (entry, one) for entry, one in members}.values())
        lines.append(
            Line(
                first.name,
                first.kind(value),
                tuple(one for _, one in members),
                tuple(entry.commit for entry, _ in members),
                tuple(entry.machine for entry, _ in members),
            )
        )
    return lines
