"""Secateur's int8 graphs beside those of libraries: paired by image, and over two sets of images."""

from __future__ import annotations

from pathlib import Path

import pytest
from secateur_studies.eight_bits_beside import beside_libraries

from secateur.core.files import write_json


def row(right: str, error: float = 0.01) -> dict[str, object]:
    return {"right": right, "top1": 100 * right.count("1") / len(right), "error": error}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    dense = {
        "fp32": row("1111"),
        "secateur int8": row("1110"),
        "onnxruntime.quantization": row("1000"),
        "ModelOpt max": row("1111", 0.04),
    }
    more = {**dense, "secateur int8": row("11111111", 0.03), "ModelOpt max": row("11110000", 0.02)}
    half = {**dense, "secateur int8 and fp32": row("1111", 0.005)}
    runs = {
        "net, dense": {"graphs": dense},
        "net, dense, for ONNX Runtime": {"graphs": {"fp32": row("1"), "secateur int8": row("1")}},
        "net, dense, ten classes": {"graphs": {**more, "fp32": row("11111111")}},
        "net, half": {"graphs": half},
    }
    write_json(tmp_path / "eight_bits.json", "eight_bits", {"runs": runs})
    return tmp_path


def test_the_better_library_is_the_one_that_is_compared(results: Path) -> None:
    head, lines = beside_libraries(results)
    cells = {one[0]: one[1:] for one in lines}
    assert all(len(one) == len(head) for one in lines)
    assert list(cells) == ["net, dense", "net, dense, ten classes", "net, dense, all of these", "net, half"]
    assert cells["net, dense"][:4] == ("4", "100.0", "75.0", "100.0 (ModelOpt max)")
    assert cells["net, dense"][4] == "-25.0 ± 49.0"
    assert cells["net, dense"][5] == "1.00%, 4.00%"


def test_graphs_are_counted_over_both_sets_of_images(results: Path) -> None:
    cells = {one[0]: one[1:] for one in beside_libraries(results)[1]}
    assert cells["net, dense, all of these"][0] == "12"
    assert cells["net, dense, all of these"][2:4] == ("91.7", "66.7 (ModelOpt max)")
    assert cells["net, dense, all of these"][5] == "2.33%, 2.67%"


def test_a_graph_with_a_limit_is_the_one_that_counts(results: Path) -> None:
    cells = {one[0]: one[1:] for one in beside_libraries(results)[1]}
    assert cells["net, half"][2] == "100.0"
    assert cells["net, half"][5] == "0.50%, 4.00%"
