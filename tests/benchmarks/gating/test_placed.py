"""Which node runs where: as a real session says, and as a profile says that was recorded and spoilt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from secateur.benchmarks.gating.placed import Placed, placed_in, placed_nodes
from secateur.core.errors import BenchError
from tests.benchmarks.layers.graphs import graph
from tests.export.conftest import needs_ort

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


def event(name: str, kind: str, provider: str, size: int = 4096, index: int = 0) -> dict[str, Any]:
    """An event of a node as ONNX Runtime 1.32 writes it, but for what nobody reads."""
    args = {"op_name": kind, "provider": provider, "output_size": str(size), "node_index": str(index)}
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": 3, "args": args}


@needs_ort
def test_all_nodes_of_a_real_session_run_on_its_provider(tmp_path: Path) -> None:
    found = placed_nodes(graph(tmp_path / "small.onnx"), "cpu")
    assert found.nodes == {CPU: 5}  # two convolutions in blocks, their way back, a mean and a product
    assert found.elsewhere == ()


@needs_ort
def test_what_a_real_session_ran_is_elsewhere_for_who_asked_for_another_provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secateur.benchmarks.gating.placed.PROVIDERS", {"cpu": CUDA})
    found = placed_nodes(graph(tmp_path / "small.onnx"), "cpu")
    assert [one.split()[0] for one in found.elsewhere] == ["Conv", "Conv", "ReorderOutput", "Gemm"]
    assert found.elsewhere[-1] == f"Gemm Gemm_6 on {CPU}"  # 20 bytes, but a product; the mean writes 64


def test_nodes_that_are_small_and_no_products_may_run_where_they_like() -> None:
    events = [
        {"cat": "Session", "name": "model_run", "dur": 9},
        event("conv", "Conv", CUDA),
        event("shape", "Shape", CPU, 32, 1),
        event("gather", "Gather", CPU, 1024, 2),
        event("product", "MatMul", CPU, 8, 3),
        event("product", "MatMul", CPU, 8, 3),  # of a second run
        event("product", "MatMul", CPU, 8, 4),  # of the same name
    ]
    assert placed_in(events, CUDA) == Placed(
        {CUDA: 1, CPU: 4}, (f"Gather gather on {CPU}", f"MatMul product on {CPU}", f"MatMul product on {CPU}")
    )


def test_a_profile_without_nodes_is_refused() -> None:
    with pytest.raises(BenchError, match="names no node with its provider: use another version"):
        placed_in([{"cat": "Session", "name": "model_run", "dur": 9}], CPU)
