"""The process that reads all sensors at an interval and writes each round as a line: `python -m ... --out FILE`.

It is a process of its own, so that its reading does not wait for the interpreter that measures. Every line is a
heartbeat: a gap between two shows that it did not run. It ends when its standard input does, and so never outlives
the process that started it.
"""

from __future__ import annotations

import argparse
import json
import select
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from .inventory import inventory
from .probe import SensorError, Sensors


def main(words: list[str] | None = None) -> None:
    """Writes what the sensors are, then a line for each round, then the settings as they are in the end."""
    parser = argparse.ArgumentParser(prog="watch", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--interval", type=float, default=0.1)
    parser.add_argument("--root", type=Path, default=Path("/"))
    options = parser.parse_args(words)
    sensors = inventory(options.root)
    with options.out.open("w", encoding="utf-8") as out:
        _line(out, {"probes": [[one.name, one.kind, one.wraps_at] for one in sensors.probes]})
        _line(out, {"settings": list(sensors.settings), "absent": list(sensors.absent)})
        due = time.monotonic()
        while True:
            _line(out, round_of(sensors))
            due = max(due + options.interval, time.monotonic())
            if not _goes_on(due - time.monotonic()):
                break
        _line(out, round_of(sensors))
        _line(out, {"settings": list(inventory(options.root).settings), "end": True})


def round_of(sensors: Sensors) -> dict[str, Any]:
    """One reading of every probe: when, the values, and why there is none of some."""
    start = time.monotonic()
    values: list[float | None] = []
    failed: dict[str, str] = {}
    for probe in sensors.probes:
        try:
            values.append(probe.read())
        except SensorError as error:
            values.append(None)
            failed[probe.name] = str(error)
    return {"t": (start + time.monotonic()) / 2, "values": values, "failed": failed}


def _goes_on(seconds: float) -> bool:
    """Waits; whether the standard input is still open then."""
    ready, _, _ = select.select([sys.stdin], [], [], max(0.0, seconds))
    return not ready


def _line(out: TextIO, content: dict[str, Any]) -> None:
    out.write(json.dumps(content) + "\n")
    out.flush()


if __name__ == "__main__":
    main()
