from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from torch import Tensor

from secateur.export.onnx_info import OnnxInfo
from secateur.export.quantize.divergence import first_divergence
from secateur.export.quantize.graph_edit import array_of
from secateur.export.quantize.quantize import Quantized
from tests.export.conftest import needs_ort

pytestmark = needs_ort
Batches = list[tuple[Tensor, Tensor]]


def spoilt(path: Path, out: Path, module: str, factor: float) -> str:
    """The graph with another scale of what goes into a module's product; the name of what that gives with its bias."""
    program = ir.load(path)
    node = next(node for node in program.graph if node.metadata_props.get("module") == module)
    pair = node.inputs[0].producer()  # type: ignore[union-attr]  # a product of the transformer
    for one in (pair, pair.inputs[0].producer()):  # type: ignore[union-attr]
        scale = one.inputs[1]  # type: ignore[union-attr]
        wrong = np.asarray(factor * array_of(scale), array_of(scale).dtype)
        scale.const_value = ir.tensor(wrong, name=scale.name)  # type: ignore[union-attr]
        factor = 1.0  # both read one constant
    ir.save(program, out)
    (adds, _), *_ = node.outputs[0].uses()
    return str(adds.outputs[0].name)


@pytest.mark.parametrize("module", ["blocks.0.mlp.fc1", "blocks.1.attn.proj"])
def test_a_wrong_scale_is_found_where_it_is(
    fp32: Path, int8: tuple[OnnxInfo, Quantized], images: Batches, tmp_path: Path, module: str
) -> None:
    tensor = spoilt(int8[0].path, tmp_path / "spoilt.onnx", module, 1 / 30)
    found = first_divergence(fp32, tmp_path / "spoilt.onnx", images, 0.97)
    assert found.tensor == tensor
    assert found.cosine < 0.97 < found.before


def test_where_nothing_is_wrong_the_largest_loss_is_named(
    fp32: Path, int8: tuple[OnnxInfo, Quantized], images: Batches
) -> None:
    found = first_divergence(fp32, int8[0].path, images, 0.5)
    assert 0.99 < found.cosine < found.before <= 1
