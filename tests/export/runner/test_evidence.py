"""Evidence as it was written, machines of another kind, and what is no evidence."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from secateur.export.runner.errors import BundleError
from secateur.export.runner.evidence import Latency, parse_evidence
from secateur.export.runner.machine import this_machine
from tests.export.small_bundle import evidence


def test_it_is_read_as_it_was_written(made_bundle: Path) -> None:
    assert parse_evidence((made_bundle / "evidence.json").read_bytes()) == evidence()


def test_a_latency_is_found_by_its_key_at_the_smallest_batch() -> None:
    one = Latency(1, (1.0,), (1.0,), 1.0, 1.0, 1.0)
    eight = dataclasses.replace(one, batch=8)
    found = dataclasses.replace(evidence(), latency={"ort@b8": eight, "ort@b1": one, "ort@fp16": eight})
    assert (found.latency_of("ort"), found.latency_of("ort@fp16"), found.latency_of("trt")) == (one, eight, None)


def test_a_machine_of_another_kind_is_told_by_what_the_target_runs_on() -> None:
    machine, here = evidence().machine, this_machine()
    assert machine.differences(here, "onnxruntime:cpu@fp16") == ""
    other = dataclasses.replace(here, cpu_model="Cortex-A78", gpu="Orin", capability="sm_87")
    assert machine.differences(other, "onnxruntime:cpu").endswith(f"and this is Cortex-A78 {here.platform}")
    assert machine.differences(dataclasses.replace(here, gpu="Orin"), "onnxruntime:cpu") == ""
    assert "and this is Orin sm_87" in machine.differences(other, "tensorrt")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda e: e["metrics"][0].pop("name"), "has no 'name'"),
        (lambda e: e["macs"].update(dense=-1), "macs: dense is -1"),
        (lambda e: e["latency"]["onnxruntime:cpu"].update(ratio=0), "ratio is 0"),
        (lambda e: e["latency"]["onnxruntime:cpu"].update(low=2), "is not within 2.0 to 1.3"),
        (lambda e: e["latency"]["onnxruntime:cpu"].update(dense_ms=["x"]), r"dense_ms\[0\]"),
        (lambda e: e["machine"].update(threads=0), "threads is 0"),
        (lambda e: e.update(more=1), "unknown key 'more'"),
    ],
)
def test_what_is_no_evidence(made_bundle: Path, change: Callable[[Any], object], words: str) -> None:
    content = json.loads((made_bundle / "evidence.json").read_bytes())
    change(content)
    with pytest.raises(BundleError, match=words):
        parse_evidence(json.dumps(content).encode())
