"""Graphs of some hundred bytes that ask for terabytes are refused before a runtime folds their constants."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from secateur.export.runner.errors import InferenceError
from secateur.export.runner.graph_check import check_graph
from secateur.export.runner.graph_sizes import check_numbers

HUGE = 2**62


def node(kind: str, *inputs: int | list[int] | str | None, **attributes: object) -> list[NodeProto]:
    """An operation after the constants that it reads: whole numbers, lists of them, names, or nothing."""
    made: list[NodeProto] = []
    reads = []
    for place, value in enumerate(inputs):
        if isinstance(value, str) or value is None:
            reads.append(value or "")
            continue
        reads.append(f"c{place}")
        tensor = numpy_helper.from_array(np.array(value, dtype=np.int64))
        made.append(helper.make_node("Constant", [], [f"c{place}"], value=tensor))
    return [*made, helper.make_node(kind, reads, ["y"], **attributes)]


def body() -> object:
    given = [helper.make_tensor_value_info(name, kind, []) for name, kind in (("i", 7), ("c", 9))]
    return helper.make_graph([helper.make_node("Identity", ["c"], ["d"])], "body", given, [given[1]])


def path_of(folder: Path, nodes: list[NodeProto]) -> Path:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy")
    data = helper.make_model(helper.make_graph(nodes, "graph", [x], [y])).SerializeToString()
    assert len(data) < 400
    (folder / "model.onnx").write_bytes(data)
    return folder / "model.onnx"


BOMBS = {
    "Tile": node("Tile", "x", [2**40]),
    "Tile twice": node("Tile", "x", [2**20, 2**20]),
    "Range": node("Range", 0, HUGE, 1),
    "Range down": node("Range", HUGE, 0, -3),
    "Expand": node("Expand", "x", [HUGE]),
    "ConstantOfShape": node("ConstantOfShape", [HUGE]),
    "ConstantOfShape of value_ints": [
        helper.make_node("Constant", [], ["s"], value_ints=[2**20, 2**20]),
        helper.make_node("ConstantOfShape", ["s"], ["y"]),
    ],
    "Range of value_int": [
        helper.make_node("Constant", [], ["limit"], value_int=HUGE),
        *node("Range", 0, "limit", 1),
    ],
    "Resize": node("Resize", "x", None, None, [2**20, 2**20]),
    "OneHot": node("OneHot", "x", HUGE, "x"),
    "Loop": node("Loop", HUGE, None, body=body()),
}
FINE = {
    "Tile": node("Tile", "x", [3]),
    "Range": node("Range", 0, 100, 1),
    "Range of nothing": node("Range", 0, -HUGE, 1),
    "Range without a step": node("Range", 0, HUGE, 0),
    "Range that is computed": node("Range", 0, "x", 1),
    "Expand": node("Expand", "x", [4, 2]),
    "Resize by scales": node("Resize", "x", None, "x"),
    "Loop until a condition": node("Loop", 2**63 - 1, "x", body=body()),
    "Loop": node("Loop", 9, None, body=body()),
}


@pytest.mark.parametrize("nodes", BOMBS.values(), ids=BOMBS)
def test_what_asks_for_terabytes_is_refused(nodes: list[NodeProto], tmp_path: Path) -> None:
    said = "goes round 4611686018427387904 times" if nodes[-1].op_type == "Loop" else "of more than 4294967296 numbers"
    with pytest.raises(InferenceError, match=f"'{nodes[-1].op_type}'.*{said}"):
        check_graph(path_of(tmp_path, nodes))


@pytest.mark.parametrize("nodes", FINE.values(), ids=FINE)
def test_what_is_usual_is_opened(nodes: list[NodeProto], tmp_path: Path) -> None:
    check_graph(path_of(tmp_path, nodes))


def test_a_size_of_nothing_is_no_bomb() -> None:
    assert check_numbers([2**62, 0, 2**62], "x") == 0
