"""What graphs and engines run in: as their sessions and descriptions say, whatever their names."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from secateur.benchmarks import bench
from secateur.benchmarks.gating import ran
from secateur.benchmarks.gating.ran import Ran, found_in
from secateur.benchmarks.runners import Subject
from secateur.core.files import write_json
from secateur.export.engine_info import Layer
from secateur.export.targets import parse_typed_target
from tests.benchmarks.tiny_graphs import mixed_graph, tiny_graph


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
    described(monkeypatch, tmp_path, Layer("fc", "gemm", "fp32"))
    found = Ran(products={"fp32": 1}, otherwise=("fc",))
    assert found_in(engine, goal) == found_in(tmp_path, goal) == found
    assert found.share("fp16") == 0 and found.share("fp32") == 1


def described(monkeypatch: pytest.MonkeyPatch, folder: Path, *layers: Layer) -> None:
    """Gives the folder an engine's description with these layers."""
    write_json(folder / "engine.json", "engine", {})
    info = type("Info", (), {"layers": layers})
    monkeypatch.setattr("secateur.export.engine_info.EngineInfo.load", lambda folder: info)


def test_only_products_of_an_engine_count_and_those_that_rules_keep_are_excused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten products, of which three are wide: one that the export keeps, one whose name is lost, and one by mistake."""
    products = [Layer(f"n{index}", "gemm", "fp32" if index in (1, 2) else "fp16") for index in range(9)]
    fused = Layer("__myl_fused_gemm_7", "kgen", "fp32")
    described(monkeypatch, tmp_path, *products, fused, Layer("norm", "kgen", "fp32"), Layer("shape", "shape_call", ""))
    goal, counts = parse_typed_target("tensorrt@fp16"), {"fp16": 7, "fp32": 3}
    graph = mixed_graph(tmp_path / "graph.onnx", 10, wide=(1, 2, 9), kept=(1, 9))
    found = found_in(tmp_path, goal, graph=graph)
    assert found == Ran(products=counts, kept=2, otherwise=("n2",))
    assert found.share("fp16") == pytest.approx(7 / 8)
    engine = tmp_path / "model.engine"
    subject = Subject("a", typed_onnx={"fp16": graph}, engines={str(goal): engine})
    assert bench._ran(subject, [goal], {str(goal)}, here=True) == {str(goal): found}
    alone = found_in(tmp_path, goal)
    assert alone == Ran(products=counts, otherwise=("n1", "n2", "__myl_fused_gemm_7"))


@pytest.mark.parametrize(("precision", "kept"), [("fp16", 1), ("int8", 5)])
def test_a_graph_in_8_bits_has_all_else_by_its_rules_and_one_in_fp16_what_it_names(
    precision: str, kept: int, tmp_path: Path
) -> None:
    graph = mixed_graph(tmp_path / "graph.onnx", 5, wide=(0, 3), kept=(3,))
    found = found_in(graph, parse_typed_target(f"onnxruntime:cpu@{precision}"), here=False)
    assert (found.products, found.kept) == ({"fp32": 2, "fp16": 3}, kept)
    assert found.otherwise == (("n0",) if precision == "fp16" else ())


@pytest.mark.skipif(find_spec("onnxruntime") is None, reason="onnxruntime is not installed")
def test_a_session_on_a_gpu_says_where_each_node_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session is on the CPU, which stands for the GPU that is not here."""
    monkeypatch.setattr(ran, "BY_NODE", ("cpu",))
    found = found_in(tiny_graph(tmp_path / "tiny.onnx", products=3), parse_typed_target("onnxruntime:cpu"))
    assert (sum(found.nodes.values()), found.elsewhere) == (3, ())
