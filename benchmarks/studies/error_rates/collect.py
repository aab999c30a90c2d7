"""How often a gate is wrong: `python -m secateur_studies.error_rates.collect --size "5 ms" --count 800 --out FILE`.

Each process opens the same model twice and four that are slower by a known number of layers, in an order of its own,
and runs them in turns. A gate is then judged on groups of neighbouring processes (`rates`). An interrupted collection
goes on where it was.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from secateur_studies.error_rates.load import KINDS, load
from secateur_studies.error_rates.planted import SHAPES, planted
from secateur_studies.error_rates.table import BLOCKS, as_table, rows_of

from secateur.benchmarks.environment import command_line, environment
from secateur.core.files import read_json, write_json

KIND = "error_rates"
MACHINES = ("quiet", "loaded", "shared")
"""Left alone; with the loads of `load` beside; and with whatever others do."""
CHANGE = 20
"""Processes after which another kind of load works beside."""


def one_process(size: str, seed: int, folder: Path) -> dict[str, Any]:
    """What a process found, and the seconds that it took."""
    out = folder / "process.json"
    sides = [f"{name}={path}" for name, path in planted(size, folder / "models").items()]
    words = [sys.executable, "-P", "-m", "secateur_studies.error_rates.session", str(out), str(BLOCKS[size]), str(seed)]
    start, busy = time.perf_counter(), _busy_seconds()
    subprocess.run([*words, *sides], check=True)
    seconds = time.perf_counter() - start
    others = (_busy_seconds() - busy) / seconds
    return {"seed": seed, "seconds": round(seconds, 3), "others": round(others, 3), **json.loads(out.read_text())}


def _busy_seconds() -> float:
    """Seconds that all processors have worked for others than this process and those that it waited for."""
    user, nice, system, _, _, irq, soft, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])


@click.command()
@click.option("--size", type=click.Choice(list(SHAPES)), required=True)
@click.option("--machine", type=click.Choice(MACHINES), required=True, help="Loaded: this study works beside itself.")
@click.option("--count", default=1000, show_default=True, help="Processes.")
@click.option("--seconds", type=float, help="Stop after so long.")
@click.option("--out", type=click.Path(path_type=Path), required=True)
def main(size: str, machine: str, count: int, seconds: float | None, out: Path) -> None:
    """Measures processes until there are COUNT of this size and machine in OUT."""
    new: dict[str, Any] = {"commands": [], "environment": asdict(environment(1)), "found": {}}
    found = read_json(out, KIND) if out.exists() else new
    found["commands"] = [*dict.fromkeys([*found["commands"], command_line()])]
    key = f"{size}, {machine}"
    rows = rows_of(found["found"][key]) if key in found["found"] else []
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        planted(size, Path(folder) / "models")
        while len(rows) < count and (seconds is None or time.monotonic() - start < seconds):
            kind = KINDS[len(rows) // CHANGE % len(KINDS)] if machine == "loaded" else "none"
            with load(kind, len(rows)):
                for _ in range(min(CHANGE - len(rows) % CHANGE, count - len(rows))):
                    rows.append({"load": kind, **one_process(size, len(rows), Path(folder))})
            found["found"][key] = as_table(rows)
            write_json(out, KIND, found)
            click.echo(f"{key}: {len(rows)} processes, {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
