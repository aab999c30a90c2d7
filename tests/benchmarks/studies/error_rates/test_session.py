"""A process of a measurement: sides in turns, and a summary of what they took."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from secateur_studies.error_rates.planted import chain
from secateur_studies.error_rates.session import main, measure, summary


def test_every_side_is_timed_twice_a_block_after_a_run_of_its_own() -> None:
    runs: list[str] = []
    calls = {name: (lambda name=name: runs.append(name)) for name in "abc"}
    found = measure(calls, 4, np.random.default_rng(0))
    assert {name: times.shape for name, times in found.items()} == dict.fromkeys("abc", (8, 2))
    blocks = [runs[start : start + 9] for start in range(0, 36, 9)]
    assert all(block[i] == block[i + 1] == block[i + 2] for block in blocks for i in (0, 3, 6))
    assert {frozenset(block) for block in blocks} == {frozenset("abc")}
    assert len({tuple(block) for block in blocks}) > 1  # the order is drawn anew


def test_the_summary_holds_medians_halves_and_intervals() -> None:
    clock = np.arange(1, 21, dtype=np.float64) * 1e6
    times = {"reference": np.stack([clock, clock / 2], 1), "same": np.stack([clock, clock], 1)}
    found = summary(times)
    assert (found["reference median"], found["reference processor"], found["reference half"]) == (10.5, 5.25, 5.5)
    assert found["same low"] <= 1 <= found["same high"]
    assert "reference low" not in found


def test_models_are_opened_and_measured(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    for layers in (5, 6):
        chain(2, 4, layers, tmp_path / f"{layers}.onnx")
    out = tmp_path / "out.json"
    main(str(out), "5", "1", f"reference={tmp_path / '5.onnx'}", f"10 % slower={tmp_path / '6.onnx'}")
    assert set(json.loads(out.read_text())) >= {"reference median", "10 % slower low"}
