"""Command lines of trtexec: shapes and names of the graph, each a word of its own."""

from __future__ import annotations

import shlex
from pathlib import Path

import onnx

from secateur.export.engine_info import Profile
from secateur.export.graph_types import read_graph
from secateur.export.serving.trtexec import trtexec_lines, trtexec_page


def test_the_lines_name_the_shapes_of_the_graph(graph: Path) -> None:
    build, run = map(shlex.split, trtexec_lines(graph, Profile(1, 4, 16)))
    assert [word for word in build if "Shapes" in word] == [
        "--minShapes=input:1x3x8x8",
        "--optShapes=input:4x3x8x8",
        "--maxShapes=input:16x3x8x8",
    ]
    assert {"--onnx=model.onnx", "--stronglyTyped", "--saveEngine=model.engine"} <= {*build}
    assert {"--loadEngine=model.engine", "--shapes=input:4x3x8x8", "--exportTimes=model.times.json"} <= {*run}


def test_a_fixed_batch_has_no_shapes_and_odd_names_are_quoted(graph: Path, tmp_path: Path) -> None:
    content = read_graph(graph)
    content.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(content, tmp_path / "a b;c.onnx")
    build, run = trtexec_lines(tmp_path / "a b;c.onnx", Profile())
    assert "hapes" not in build + run
    assert "'--onnx=a b;c.onnx'" in build


def test_the_page_has_every_graph(graph: Path) -> None:
    page = trtexec_page([graph, graph], Profile())
    assert page.count("## model.onnx: batches 1 to 8, timed at 1") == 2
    assert all(line in page for line in trtexec_lines(graph, Profile()))
