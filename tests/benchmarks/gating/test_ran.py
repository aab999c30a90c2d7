"""What graphs and engines run in: as their sessions and descriptions say, whatever their names."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from secateur.benchmarks.gating.ran import Ran, found_in
from secateur.core.files import write_json
from secateur.export.targets import parse_typed_target
from tests.benchmarks.tiny_graphs import tiny_graph


@pytest.mark.skipif(find_spec("onnxruntime") is None, reason="onnxruntime is not installed")
def test_an_fp32_graph_runs_in_fp32_whatever_it_is_called(tmp_path: Path) -> None:
    path = tiny_graph(tmp_path / "model.fp16.onnx", products=3)
    for goal in ("onnxruntime:cpu@fp16", "onnxruntime:cpu"):
        found = found_in(path, parse_typed_target(goal))
        assert (found.provider, set(found.products)) == ("CPUExecutionProvider", {"fp32"})
    assert found_in(path, parse_typed_target("onnxruntime:cpu"), here=False).provider == ""


def test_an_engine_runs_in_what_its_description_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, goal = tmp_path / "model.engine", parse_typed_target("tensorrt@fp16")
    assert found_in(engine, goal) == Ran()  # an engine of others
    write_json(tmp_path / "engine.json", "engine", {})
    info = type("Info", (), {"precisions": {"fp32": 12}})
    monkeypatch.setattr("secateur.export.engine_info.EngineInfo.load", lambda folder: info)
    assert found_in(engine, goal) == found_in(tmp_path, goal) == Ran(products={"fp32": 12})
