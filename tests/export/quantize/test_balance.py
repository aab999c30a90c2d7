"""SmoothQuant's folding: the graph computes what it did, and its channels are even."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from torch import Tensor

from secateur.export.quantize.balance import balance, balanced_outputs
from secateur.export.quantize.graph_edit import array_of, read_program, replace_weight
from secateur.export.quantize.observe import observed
from secateur.export.quantize.placement import place
from tests.export.conftest import needs_ort

Batches = list[tuple[Tensor, Tensor]]


def uneven(fp32: Path) -> ir.Model:
    """The transformer with one channel of its first LayerNorm a hundred times as large."""
    program = read_program(fp32)
    norm = next(node for node in program.graph if node.op_type == "LayerNormalization")
    factor = np.ones(64, np.float32)
    factor[5] = 100
    for place_ in (1, 2):
        replace_weight(norm, place_, array_of(norm.inputs[place_]) * factor, "uneven")
    return program


@needs_ort
def test_the_graph_computes_what_it_did_and_its_channels_are_even(fp32: Path, images: Batches) -> None:
    program = uneven(fp32)
    placement = place(program)
    feeds = [{"input": pictures.numpy()} for pictures, _ in images]
    outputs = balanced_outputs(program, placement)
    assert [len(products) for products in outputs.values()] == [1, 1, 1, 1]  # qkv and fc1 of two blocks

    def seen() -> dict[str, np.ndarray]:
        return next(observed(program, [*outputs, "logits"], feeds))

    before = seen()
    largest = {name: np.abs(before[name]).max((0, 1)) for name in outputs}
    assert balance(program, placement, largest, 0.5) == tuple(outputs)
    after = seen()
    np.testing.assert_allclose(after["logits"], before["logits"], rtol=1e-4, atol=1e-5)
    name, (product,) = next(iter(outputs.items()))
    spread = [float(np.ptp(np.log(np.abs(arrays[name]).max((0, 1))))) for arrays in (before, after)]
    assert spread[1] < 0.7 * spread[0]
    node = next(node for node in program.graph if node.name == product.node)
    rows, channels = np.abs(array_of(node.inputs[1])).max(1), np.abs(after[name]).max((0, 1))
    np.testing.assert_allclose(rows, channels, rtol=1e-3)  # at 0.5 weights and activations reach equally far


@needs_ort
def test_what_others_read_is_left_alone(fp32: Path) -> None:
    program = read_program(fp32)
    norm = next(node for node in program.graph if node.op_type == "LayerNormalization")
    sums = next(node for node in program.graph if node.op_type == "Add" and node.inputs[0] is norm.inputs[0])
    sums.replace_input_with(0, norm.outputs[0])  # a block whose residual path goes past the normalisation
    assert str(norm.outputs[0].name) not in balanced_outputs(program, place(program))


def test_dead_channels_keep_their_weights(fp32: Path) -> None:
    program = read_program(fp32)
    placement = place(program)
    outputs = balanced_outputs(program, placement)
    largest = {name: np.linspace(0, 1, 64).astype(np.float32) for name in outputs}
    norms = [node for node in program.graph if node.op_type == "LayerNormalization"][:4]
    before = [array_of(norm.inputs[1])[0] for norm in norms]
    balance(program, placement, largest, 0.5)
    assert [array_of(norm.inputs[1])[0] for norm in norms] == before
    assert all(np.isfinite(array_of(norm.inputs[1])).all() for norm in norms)


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_the_ends_of_the_strength(fp32: Path, strength: float) -> None:
    program = read_program(fp32)
    placement = place(program)
    name, (product,) = next(iter(balanced_outputs(program, placement).items()))
    largest = np.random.default_rng(0).uniform(0.5, 2, 64).astype(np.float32)
    node = next(node for node in program.graph if node.name == product.node)
    weight, norm = array_of(node.inputs[1]), array_of(node.inputs[0].producer().inputs[1])  # type: ignore[union-attr]
    balance(program, placement, {name: largest}, strength)
    factor = norm / array_of(node.inputs[0].producer().inputs[1])  # type: ignore[union-attr]
    np.testing.assert_allclose(factor, largest if strength else 1 / np.abs(weight).max(1), rtol=1e-4)
