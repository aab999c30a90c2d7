"""Planted chains: equal work in each layer, values that neither grow nor vanish, and as many layers as promised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from secateur_studies.error_rates import planted


def test_the_slower_ones_have_so_many_more_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planted, "SHAPES", {"tiny": (2, 4)})
    found = planted.planted("tiny", tmp_path)
    layers = {name: len(onnx.load(path).graph.node) for name, path in found.items()}
    assert layers == {
        "reference": 100,
        "same": 100,
        "3 % slower": 103,
        "5 % slower": 105,
        "10 % slower": 110,
        "20 % slower": 120,
    }
    assert planted.planted("tiny", tmp_path) == found


def test_values_keep_their_size(tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    planted.chain(3, 8, 50, tmp_path / "a.onnx")
    x = np.random.default_rng(1).standard_normal((1, 3, 8)).astype(np.float32)
    (y,) = ort.InferenceSession(str(tmp_path / "a.onnx")).run(None, {"x0": x})
    assert np.linalg.norm(y, axis=-1) == pytest.approx(np.linalg.norm(x, axis=-1), rel=1e-4)
    assert not np.allclose(x, y)
