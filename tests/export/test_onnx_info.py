from __future__ import annotations

import hashlib
from pathlib import Path

from secateur.export.onnx_info import OnnxInfo, onnx_info


def test_a_graph_says_what_was_exported(exported: dict[str, OnnxInfo], tmp_path: Path) -> None:
    for precision, info in exported.items():
        assert onnx_info(info.path) == info
        assert info.precision == precision
        assert info.sha256 == hashlib.sha256(info.path.read_bytes()).hexdigest()


def test_external_weights_count(exported: dict[str, OnnxInfo], tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(exported["fp32"].path.read_bytes())
    (tmp_path / "weights").write_bytes(b"12345")
    info = onnx_info(path, "weights")
    assert (info.size_bytes, info.external) == (path.stat().st_size + 5, "weights")
