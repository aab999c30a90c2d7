"""The study of 8 bits: what is counted, and that each that quantises writes a graph in 8 bits."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from secateur_studies.eight_bits import by_modelopt, counted, int8_rows, loss, predictions, table_of, timed, writers
from secateur_studies.trained_models import Trained
from torch import Tensor, nn

from secateur.core.errors import BenchError
from secateur.export.graph_types import declared_precisions, read_graph
from secateur.export.to_onnx import export_onnx

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Conv2d(c, 16, 3) for c in (3, 16, 16)), nn.Flatten(), nn.Linear(64, 16)).eval()
    return export_onnx(model, tmp_path_factory.mktemp("study") / "fp32.onnx", input_shape=(3, 8, 8)).path


@pytest.fixture(scope="module")
def images() -> list[tuple[Tensor, Tensor]]:
    return [(torch.randn(8, 3, 8, 8), torch.arange(8)) for _ in range(2)]


@pytest.mark.parametrize("word", ["secateur int8", "onnxruntime.quantization"])
def test_each_writes_eight_bits(word: str, graph: Path, images: list[tuple[Tensor, Tensor]], tmp_path: Path) -> None:
    path = tmp_path / "quantised.onnx"
    how = writers("")[word](graph, path, images)  # type: ignore[arg-type]  # a loader of the same kind
    assert ("rule" in how) == word.startswith("secateur")
    assert "int8" in declared_precisions(read_graph(path)).values()
    labels, dense = predictions(graph, images)  # type: ignore[arg-type]
    row = counted(path, labels, predictions(path, images)[1], dense)  # type: ignore[arg-type]
    assert 0 < row["error"] < 0.05
    assert row["size_bytes"] == path.stat().st_size
    assert row["right"].count("1") == pytest.approx(row["top1"] / 100 * 16)


def test_what_is_counted(graph: Path) -> None:
    dense = np.eye(4)
    logits = dense[[0, 1, 3, 2]]
    row = counted(graph, np.array([0, 0, 3, 3]), logits, dense)
    assert (row["top1"], row["agreement"], row["right"]) == (50.0, 0.5, "1010")
    assert row["error"] == pytest.approx(4 / 16 / dense.var())


def test_a_modelopt_that_fails_is_told(graph: Path, images: list[tuple[Tensor, Tensor]], tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"(?s)ModelOpt failed \(.*modelopt.*\): give an environment"):
        by_modelopt(graph, tmp_path / "out.onnx", images, sys.executable, "max")  # type: ignore[arg-type]


def test_the_table_compares_with_fp32_by_image() -> None:
    row = {"top1": 50.0, "agreement": 0.975, "error": 0.0123, "size_bytes": 2_000_000, "right": "0011"}
    other = {**row, "top1": 75.0, "right": "0111", "speedup": {"ratio": 1.5, "low": 1.4, "high": 1.6}}
    head, lines = table_of({"runs": {"a, dense": {"graphs": {"fp32": row, "int8": other}}}})
    assert loss(other, row) == pytest.approx((25.0, 100 * 1.96 * 0.5 / 2))
    assert len(head) == 7
    assert lines == [
        ("a, dense: fp32", "50.0", "", "97.5%", "1.23%", "2.0", ""),
        ("a, dense: int8", "75.0", "+25.0 ± 49.0", "97.5%", "1.23%", "2.0", "1.50 [1.40, 1.60]"),
    ]


def test_int8_alone(images: list[tuple[Tensor, Tensor]]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Conv2d(c, 16, 3) for c in (3, 16, 16)), nn.Flatten(), nn.Linear(64, 16)).eval()
    found = dict(int8_rows(Trained(model, (3, 8, 8), images, images, images, images), "dense", ""))
    assert list(found) == ["fp32", "secateur int8", "onnxruntime.quantization", "secateur int8, for ONNX Runtime"]
    assert all("speedup" not in row and len(row["right"]) == 16 for row in found.values())


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_graphs_in_sixteen_bits_are_counted(
    precision: str, graph: Path, images: list[tuple[Tensor, Tensor]], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Conv2d(c, 16, 3) for c in (3, 16, 16)), nn.Flatten(), nn.Linear(64, 16)).eval()
    path = export_onnx(model, tmp_path / "narrow.onnx", input_shape=(3, 8, 8), precision=precision).path
    wide, narrow = predictions(graph, images)[1], predictions(path, images)[1]
    assert narrow.dtype == np.float32
    assert 0 < np.abs(narrow - wide).max() < (0.001 if precision == "fp16" else 0.01)


def test_a_graph_is_timed_beside_the_wide_one(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secateur_studies.eight_bits.SECONDS", 0.05)
    found = timed(graph, graph)
    assert found["speedup"]["low"] <= found["speedup"]["ratio"] <= found["speedup"]["high"]
    assert len(found["fp32_ms"]) == len(found["ms"]) >= 20
