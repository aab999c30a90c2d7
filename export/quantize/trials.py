"""What was measured in the search for a mixed-precision graph, in a file, so that a search that stopped goes on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from secateur.core.errors import ExportError
from secateur.core.files import sha256_json
from secateur.core.records import read_record, write_record
from secateur.export.quantize.limit import Drop

KIND = "trials"


@dataclass(frozen=True)
class TrialsFile:
    """The divergence of each product `alone` in 8 bits, and the `drops` of graphs by the hash of their wide products.

    `identity` is the hash of what decides these: the graph, the images, the options and the judge.
    """

    identity: str
    alone: Mapping[str, float] = field(default_factory=dict)
    drops: Mapping[str, Drop] = field(default_factory=dict)


class Trials:
    """Measures what is asked for, but nothing twice; with a `path`, it is kept there after each measurement.

    A file of another identity is begun anew. Raises `ExportError` for a file that is none of these.
    """

    def __init__(self, identity: str, path: Path | None) -> None:
        self._path, self._known = path, TrialsFile(identity)
        if path is not None and path.is_file():
            there = read_record(path, KIND, TrialsFile, ExportError, "remove it to measure anew")
            if there.identity == identity:
                self._known = there

    def alone(self, name: str, measure: Callable[[], float]) -> float:
        """The divergence of the graph with one product in 8 bits."""
        if name not in self._known.alone:
            self._keep(replace(self._known, alone={**self._known.alone, name: measure()}))
        return self._known.alone[name]

    def drop(self, wide: Collection[str], measure: Callable[[], Drop]) -> Drop:
        """The drop of the graph whose products `wide` are in the wider type."""
        key = sha256_json(sorted(wide))
        if key not in self._known.drops:
            self._keep(replace(self._known, drops={**self._known.drops, key: measure()}))
        return self._known.drops[key]

    def _keep(self, known: TrialsFile) -> None:
        self._known = known
        if self._path is not None:
            write_record(self._path, KIND, known)
