"""Verifies a bundle for `verify --device`: `python -m bundle_runner.verify_there JOB.json BUNDLE OUT.json`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from .errors import RunnerError
from .sensors.probe import SensorError
from .sensors.watched import watched
from .verify import SCHEMA, verify, with_conditions


def main(words: list[str]) -> None:
    """Writes the verdict as JSON, with what the device was like; what cannot be read ends the program in a sentence."""
    job = json.loads(Path(words[0]).read_text(encoding="utf-8"))
    try:
        verdict, seen = watched(lambda: verify(Path(words[1]), say=lambda text: print(text, flush=True), **job))
    except (RunnerError, SensorError) as error:
        sys.exit(str(error))
    found = with_conditions(verdict, seen)
    Path(words[2]).write_text(json.dumps({"schema": SCHEMA, **asdict(found)}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
