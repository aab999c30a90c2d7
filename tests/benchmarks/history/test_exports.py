"""Exports: the layout and the keys that asv and github-action-benchmark document, and smaller numbers for better."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from secateur.benchmarks.history.entry import Value
from secateur.benchmarks.history.exports import left_out, smaller_is_better, write_asv, write_github
from secateur.core.errors import BenchError
from tests.benchmarks.history.entries import measured

ASV_RESULT = {
    *("commit_hash", "env_name", "date", "params", "python", "requirements", "env_vars", "result_columns", "results"),
    *("durations", "version"),
}
"""The keys of a file of results, of asv's `dev.html#commit-hash-env-json`."""
ASV_MACHINE = {"machine", "os", "arch", "cpu", "num_cpu", "ram", "version"}
ASV_COLUMNS = {
    *("result", "params", "version", "started_at", "duration", "stats_ci_99_a", "stats_ci_99_b", "stats_q_25"),
    *("stats_q_75", "stats_number", "stats_repeat", "samples", "profile"),
}


def test_better_is_smaller() -> None:
    turned = smaller_is_better(Value("speedup", 2.0, "x", "torch:cpu", 1, 1.6, 2.5, higher_is_better=True))
    assert turned and (turned.measure, turned.value, turned.low, turned.high) == ("relative time", 0.5, 0.4, 1 / 1.6)
    right = smaller_is_better(Value("top-1", 81.0, "%", higher_is_better=True))
    assert right and (right.measure, right.value) == ("top-1 error", 19.0)
    size = Value("size", 5, "bytes")
    assert smaller_is_better(size) == size
    odd = replace(measured(), values=(size, Value("R2", 0.9, "", higher_is_better=True)))
    assert left_out([odd, measured()]) == ["R2"]


def test_the_folder_is_one_of_asv(tmp_path: Path) -> None:
    one, other = measured(), replace(measured("quarter"), time="2026-01-02T00:00:00+00:00")
    files = write_asv([one, other, replace(one, machine="orin", commit="b" * 40)], tmp_path)
    assert {str(file.relative_to(tmp_path)) for file in files} == {
        "ci/machine.json",
        "ci/aaaaaaaa-secateur-py3.11.json",
        "orin/machine.json",
        "orin/bbbbbbbb-secateur-py3.11.json",
        "benchmarks.json",
    }
    with pytest.raises(BenchError, match="agree in the 8 letters by which asv names files"):
        write_asv([one, replace(one, commit="a" * 8 + "b")], tmp_path / "other")
    content = json.loads((tmp_path / "ci" / "aaaaaaaa-secateur-py3.11.json").read_text())
    machine = json.loads((tmp_path / "ci" / "machine.json").read_text())
    benchmarks = json.loads((tmp_path / "benchmarks.json").read_text())
    assert set(content) == ASV_RESULT and set(machine) == ASV_MACHINE
    assert (content["version"], machine["version"], benchmarks["version"]) == (2, 1, 2)
    assert (content["commit_hash"], content["date"], content["python"]) == ("a" * 40, 1767225600000, "3.11")
    assert {"machine", "python"} <= set(content["params"]) and set(content["result_columns"]) <= ASV_COLUMNS
    assert set(content["results"]) == set(benchmarks) - {"version"}
    row = dict(zip(content["result_columns"], content["results"]["half.onnxruntime_cpu.b1.pruned_p50"], strict=True))
    (value,) = (value.value for value in one.values if value.measure == "pruned p50")
    assert row == {"result": [value], "params": [], "version": "1"}
    benchmark = benchmarks["quarter.onnxruntime_cpu.b1.relative_time"]
    assert (benchmark["type"], benchmark["unit"], benchmark["version"], benchmark["params"]) == ("track", "x", "1", [])


def test_the_newest_commit_is_one_of_github_action_benchmark(tmp_path: Path) -> None:
    older = replace(measured(), commit="b" * 40, time="2025-01-01T00:00:00+00:00")
    write_github([older, measured()], tmp_path / "output.json")
    rows = json.loads((tmp_path / "output.json").read_text())
    names = [row["name"] for row in rows]
    assert names[0] == "half: relative time, onnxruntime:cpu, batch 1 (ci)" and len(set(names)) == len(names) == 7
    for row in rows:
        assert set(row) <= {"name", "unit", "value", "range", "extra"} and isinstance(row["value"], int | float)
        assert all(isinstance(row[key], str) for key in set(row) - {"value"}) and row["extra"] == f"commit {'a' * 40}"
    assert rows[0]["range"].startswith("± 0.") and "range" not in rows[1]
    with pytest.raises(BenchError, match="holds nothing"):
        write_github([], tmp_path / "none.json")
