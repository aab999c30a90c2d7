"""A history in the formats of others: asv's folder of results, and the JSON of github-action-benchmark.

Both take smaller numbers for better ones, so a speedup goes out as the pruned side's time over the dense one's, and a
percentage of what is right as that of what is wrong.

* asv: https://asv.readthedocs.io/en/stable/dev.html#benchmark-suite-layout-and-file-formats, version 2 of results and
  benchmarks, version 1 of machines.
* github-action-benchmark: https://github.com/benchmark-action/github-action-benchmark, tool `customSmallerIsBetter`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from secateur.benchmarks.history.entry import SPEEDUP, Entry, Value
from secateur.core.errors import BenchError
from secateur.core.files import write_text

ONE = "1"
"""asv's word for the version of a benchmark; results of others are not shown."""


def smaller_is_better(value: Value) -> Value | None:
    """A value as a number of which a smaller one is better; None where that cannot be said of it."""
    if not value.higher_is_better:
        return value
    if value.measure == SPEEDUP:
        ends = None if value.high is None else 1 / value.high, None if value.low is None else 1 / value.low
        return replace(value, measure="relative time", value=1 / value.value, low=ends[0], high=ends[1])
    if value.unit == "%":
        return replace(value, measure=f"{value.measure} error", value=100 - value.value)
    return None


def left_out(entries: Iterable[Entry]) -> list[str]:
    """The measures that no export has, since larger values are better."""
    return sorted({one.measure for entry in entries for one in entry.values if smaller_is_better(one) is None})


def write_asv(entries: Sequence[Entry], folder: Path) -> list[Path]:
    """Writes the folder of results that `asv publish` reads; returns its files.

    asv reads a commit's results where its repository has the commit. Raises `BenchError` for two commits whose files
    would have one name.
    """
    documents: dict[str, Any] = {}
    benchmarks: dict[str, Any] = {"version": 2}
    for entry in entries:
        here = entry.environment
        machine = {
            "machine": entry.machine,
            "os": here.os,
            "arch": here.machine,
            "cpu": here.cpu_model,
            "num_cpu": str(here.cores),
            "ram": "",
        }
        documents[f"{entry.machine}/machine.json"] = {**machine, "version": 1}
        python = ".".join(here.python.split(".")[:2])
        environment = f"secateur-py{python}"
        document = documents.setdefault(
            f"{entry.machine}/{entry.commit[:8]}-{environment}.json",
            {
                "commit_hash": entry.commit,
                "env_name": environment,
                "date": int(datetime.fromisoformat(entry.time).timestamp() * 1000),
                "params": {**machine, "python": python},
                "python": python,
                "requirements": {},
                "env_vars": {},
                "result_columns": ["result", "params", "version"],
                "results": {},
                "durations": {},
                "version": 2,
            },
        )
        if document["commit_hash"] != entry.commit:
            raise BenchError(
                f"the commits {document['commit_hash']} and {entry.commit} agree in the 8 letters by which asv names "
                "files: export them into different folders"
            )
        for value in map(smaller_is_better, entry.values):
            if value is not None:
                name = _asv_name(entry, value)
                document["results"][name] = [[value.value], [], ONE]
                benchmarks[name] = _asv_benchmark(name, value)
    return [_write(folder / name, content) for name, content in {**documents, "benchmarks.json": benchmarks}.items()]


def write_github(entries: Sequence[Entry], path: Path) -> None:
    """Writes what was measured of the newest commit, for one step of the action; raises `BenchError` for no entry."""
    if not entries:
        raise BenchError("the history holds nothing: add results with `secateur history add`")
    newest = entries[-1].commit
    rows: list[Mapping[str, object]] = []
    for entry in (one for one in entries if one.commit == newest):
        for value in map(smaller_is_better, entry.values):
            if value is not None:
                where = f", {value.where}" if value.where else ""
                row = {
                    "name": f"{entry.name}: {value.measure}{where} ({entry.machine})",
                    "unit": value.unit,
                    "value": value.value,
                    "extra": f"commit {entry.commit}",
                }
                if value.low is not None and value.high is not None:
                    row["range"] = f"± {(value.high - value.low) / 2:.4g}"
                rows.append(row)
    _write(path, rows)


def _asv_name(entry: Entry, value: Value) -> str:
    """A name with dots between its parts, as asv shows them in a tree."""
    parts = [entry.name, value.target, f"b{value.batch}" if value.target else "", value.measure]
    return ".".join(re.sub(r"\W+", "_", part) for part in parts if part)


def _asv_benchmark(name: str, value: Value) -> dict[str, Any]:
    return {
        "name": name,
        "code": "",
        "type": "track",
        "unit": value.unit,
        "param_names": [],
        "params": [],
        "timeout": 0,
        "version": ONE,
    }


def _write(path: Path, content: object) -> Path:
    write_text(path, json.dumps(content, indent=1) + "\n")
    return path
