from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secateur.export.quantize.graph_edit import add_constant, array_of, drop_unused, read_program, replace_weight


def test_all_sizes_are_known_but_the_batch(fp32: Path) -> None:
    products = [node for node in read_program(fp32).graph if node.op_type == "MatMul"]
    sizes = [value.shape[-2:] for node in products for value in node.inputs if value is not None and value.shape]
    assert len(sizes) == 2 * len(products)
    assert all(isinstance(size, int) for shape in sizes for size in shape)


def test_a_constant_that_others_read_stays(fp32: Path) -> None:
    program = read_program(fp32)
    graph = program.graph
    first, second, *_ = (node for node in graph if node.op_type == "LayerNormalization")
    shared = first.inputs[1]
    second.replace_input_with(1, shared)
    before = array_of(shared).copy()
    replace_weight(first, 1, 2 * before, "twice")
    assert second.inputs[1] is shared
    np.testing.assert_array_equal(array_of(shared), before)
    np.testing.assert_array_equal(array_of(first.inputs[1]), 2 * before)
    assert add_constant(graph, str(first.inputs[1].name), before).name == f"{first.inputs[1].name}.1"
    assert add_constant(graph, "scalar", np.zeros(())).shape == ()
    drop_unused(program)
    assert "scalar" not in graph.initializers
    with pytest.raises(TypeError, match="no constant"):
        array_of(first.inputs[0])
