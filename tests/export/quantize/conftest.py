"""Graphs and images of the tests of quantisation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from secateur.export.onnx_info import OnnxInfo
from secateur.export.quantize.quantize import Quantized, quantize_onnx
from tests.export.conftest import SHAPE

Batches = list[tuple[Tensor, Tensor]]


@pytest.fixture(scope="session")
def images() -> Batches:
    """Two batches of eight noisy images with a pattern of their own each."""
    generator = torch.Generator().manual_seed(7)
    return [(torch.randn(8, *SHAPE, generator=generator), torch.arange(8)) for _ in range(2)]


@pytest.fixture(scope="session")
def fp32(onnx_files: dict[str, Path]) -> Path:
    """The transformer's graph."""
    return onnx_files["fp32"]


@pytest.fixture(scope="session")
def int8(fp32: Path, images: Batches, tmp_path_factory: pytest.TempPathFactory) -> tuple[OnnxInfo, Quantized]:
    """The transformer's graph in int8."""
    return quantize_onnx(fp32, tmp_path_factory.mktemp("int8") / "model.int8.onnx", images)
