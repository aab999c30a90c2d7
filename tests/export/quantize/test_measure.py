"""Measurements of a calibration, and their file: the same graph comes of it, and it fits nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from secateur.core.errors import ExportError
from secateur.export.onnx_info import OnnxInfo
from secateur.export.quantize import quantize
from secateur.export.quantize.graph_edit import read_program
from secateur.export.quantize.measure import measure
from secateur.export.quantize.observe import CalibrationFeeds, observed
from secateur.export.quantize.placement import place
from secateur.export.quantize.quantize import Quantized, quantize_onnx
from secateur.export.quantize.spec import Quantization
from secateur.export.runner.tensors import TensorInfo
from tests.export.conftest import SHAPE, needs_ort

pytestmark = needs_ort
Batches = list[tuple[Tensor, Tensor]]


def test_measurements_are_of_the_three_quarters(fp32: Path, images: Batches) -> None:
    program = read_program(fp32)
    placement = place(program)
    feeds = CalibrationFeeds(images, (TensorInfo("input", "float32", (-1, *SHAPE)),))
    found = measure(program, placement, feeds, 0.0)
    assert found.largest == {}
    arrays = list(observed(program, placement.activations, feeds.fitting()))
    for name in placement.activations:
        values = np.concatenate([one[name] for one in arrays])
        assert len(values) == 12
        assert found.histograms[name].largest == np.abs(values).max()
        if name in found.means:
            np.testing.assert_allclose(found.means[name], values.reshape(-1, values.shape[-1]).mean(0), atol=1e-5)
    assert len(found.means) == 8


def test_a_cache_gives_the_same_graph_without_measuring(
    fp32: Path,
    int8: tuple[OnnxInfo, Quantized],
    images: Batches,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = tmp_path / "calibration.safetensors"
    assert quantize_onnx(fp32, tmp_path / "a.onnx", images, cache=cache)[1] == int8[1]
    monkeypatch.setattr(quantize, "measure", None)
    assert quantize_onnx(fp32, tmp_path / "b.onnx", images, cache=cache)[1] == int8[1]
    assert (tmp_path / "b.onnx").read_bytes() == (tmp_path / "a.onnx").read_bytes() == int8[0].path.read_bytes()
    others = [(torch.randn(8, *SHAPE), torch.arange(8)) for _ in range(2)]
    with pytest.raises(ExportError, match=r"calibration.safetensors is of other images: remove it, or name another"):
        quantize_onnx(fp32, tmp_path / "c.onnx", others, cache=cache)
    with pytest.raises(ExportError, match="is of other options"):
        quantize_onnx(fp32, tmp_path / "c.onnx", images, options=Quantization(balance=0.25), cache=cache)
    cache.write_bytes(b"nothing")
    with pytest.raises(ExportError, match="is no calibration cache"):
        quantize_onnx(fp32, tmp_path / "c.onnx", images, cache=cache)
    assert not (tmp_path / "c.onnx").exists()


def test_a_cache_of_another_graph_is_refused(fp32: Path, images: Batches, tmp_path: Path) -> None:
    import onnx

    model = onnx.load(str(fp32))
    model.metadata_props[0].value += " "
    onnx.save(model, str(tmp_path / "other.onnx"))
    cache = tmp_path / "calibration.safetensors"
    options = Quantization(rule="minmax", correct=False)
    quantize_onnx(fp32, tmp_path / "a.onnx", images, options=options, cache=cache)
    with pytest.raises(ExportError, match="is of another graph: remove it"):
        quantize_onnx(tmp_path / "other.onnx", tmp_path / "c.onnx", images, options=options, cache=cache)
