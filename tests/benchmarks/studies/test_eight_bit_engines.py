"""The rows of the engines: built where the GPU has the type, and refused with a sentence elsewhere."""

from __future__ import annotations

from pathlib import Path

import torch
from secateur_studies.eight_bit_engines import engine, engines_table, graphs
from secateur_studies.trained_models import Trained
from torch import nn

from secateur.export.to_onnx import export_onnx
from tests.export.conftest import needs_rtx


@needs_rtx
def test_an_engine_and_a_refusal(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.Flatten(), nn.Linear(256, 4)).eval()
    images = [(torch.randn(8, 3, 8, 8), torch.zeros(8, dtype=torch.long))]
    task = Trained(model, (3, 8, 8), images, images, images, images)
    fp32 = export_onnx(model, tmp_path / "fp32.onnx", input_shape=task.shape).path
    path = graphs(task, fp32)["fp8, the rest fp16"](tmp_path / "model.onnx").path
    built, refused = (engine(path, device, tmp_path) for device in ("sm_89", "sm_86"))
    assert "refused" not in built, built
    assert built["inspected"] == "builder" and built["precisions"]["fp8"] > 0 and built["size_bytes"] > 0
    assert list(refused) == ["refused"] and "has no fp8" in refused["refused"]


def test_the_table_has_a_row_for_each_engine() -> None:
    built = {"size_bytes": 1_500_000, "seconds": 12.4, "precisions": {"int8": 5, "fp16": 2}, "fused_attention": 1}
    content = {"graphs": {"int8": {"engines": {"sm_89": built, "sm_70": {"refused": "no int8"}}}}}
    assert engines_table(content)[1] == [
        ("int8, sm_89", "1.5", "12", "5 int8, 2 fp16", "1"),
        ("int8, sm_70", "none", "", "refused", ""),
    ]
