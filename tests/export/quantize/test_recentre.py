"""Re-centring: the graph computes what it did, and what its LayerNorms give reaches as far down as up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from torch import Tensor

from secateur.export.graph_types import graph_tensors, read_graph
from secateur.export.quantize.balance import balanced_outputs
from secateur.export.quantize.graph_edit import array_of, read_program, replace_weight
from secateur.export.quantize.measure import measure
from secateur.export.quantize.observe import CalibrationFeeds, observed
from secateur.export.quantize.placement import place
from secateur.export.quantize.quantize import quantize_onnx
from secateur.export.quantize.recentre import centred_outputs, recentre
from secateur.export.quantize.spec import Quantization
from tests.export.conftest import needs_ort

Batches = list[tuple[Tensor, Tensor]]


def lopsided(fp32: Path) -> ir.Model:
    """The transformer with one channel of its first LayerNorm far off the others."""
    program = read_program(fp32)
    norm = next(node for node in program.graph if node.op_type == "LayerNormalization")
    offset = np.zeros(64, np.float32)
    offset[5] = 100
    replace_weight(norm, 2, array_of(norm.inputs[2]) + offset, "lopsided")
    return program


@needs_ort
@pytest.mark.parametrize("strength", [0.0, 0.5])
def test_the_graph_computes_what_it_did_and_reaches_as_far_down_as_up(
    fp32: Path, images: Batches, strength: float
) -> None:
    program = lopsided(fp32)
    placement = place(program)
    feeds = CalibrationFeeds(images, graph_tensors(read_graph(fp32))[0])
    outputs = centred_outputs(program, placement)
    assert outputs == tuple(balanced_outputs(program, placement))

    def seen() -> dict[str, np.ndarray]:
        every = list(observed(program, [*outputs, "logits"], feeds.fitting()))
        return {name: np.concatenate([arrays[name] for arrays in every]) for name in every[0]}

    before = seen()
    found = measure(program, placement, feeds, strength, centred=True)
    after = seen()
    np.testing.assert_allclose(after["logits"], before["logits"], rtol=1e-3, atol=1e-4)
    for name in outputs:
        low, high = after[name].min((0, 1)), after[name].max((0, 1))
        np.testing.assert_allclose(low, -high, atol=1e-3 * np.abs(high).max())
        np.testing.assert_allclose(
            found.middles[name], (before[name].max((0, 1)) + before[name].min((0, 1))) / 2, atol=1e-4
        )
    assert bool(found.largest) == bool(strength)
    first = outputs[0]
    assert np.abs(before[first]).max() > 10 * np.abs(after[first]).max()


def test_what_has_no_bias_stays(fp32: Path) -> None:
    program = read_program(fp32)
    placement = place(program)
    outputs = centred_outputs(program, placement)
    norms = [node for node in program.graph if node.op_type == "LayerNormalization"]
    nodes = {str(node.name): node for node in program.graph}
    adds = next(
        reader for reader, _ in nodes[balanced_outputs(program, placement)[outputs[0]][0].node].outputs[0].uses()
    )
    replace_weight(adds, 1 if adds.inputs[1].const_value is not None else 0, np.zeros((1, 1), np.float32), "scalar")  # type: ignore[union-attr]
    norms[1].resize_inputs(2)
    assert centred_outputs(program, placement) == outputs[2:]
    changed = recentre(program, placement, {name: np.ones(64, np.float32) for name in outputs})
    assert changed == outputs[2:]


@needs_ort
def test_a_lopsided_graph_loses_less(fp32: Path, images: Batches, tmp_path: Path) -> None:
    source = tmp_path / "lopsided.onnx"
    ir.save(lopsided(fp32), source)
    errors = []
    for centred in (False, True):
        options = Quantization(rule="minmax", recentre=centred, balance=0, correct=False)
        _, how = quantize_onnx(source, tmp_path / "int8.onnx", images, options=options)
        assert how.recentred == (4 if centred else 0)
        errors.append(how.errors["minmax"])
    assert errors[1] < errors[0] / 5
