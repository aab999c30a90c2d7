"""Planted layer profiles: rows of which everything is known."""

from __future__ import annotations

from secateur.benchmarks.layers.layers_file import LayerProfile, LayerRow, Roofline
from tests.benchmarks.samples import HERE

ROOFLINE = Roofline(macs_per_s=1e9, bytes_per_s=1e8, source="planted", floor_ms=0.002)  # a ridge of 10 MACs per byte


def row(name: str = "blocks.0.mlp.fc1", **changed: object) -> LayerRow:
    """A layer with half of its MACs and 0.9 of its time."""
    usual: dict[str, object] = {
        "kind": "MatMul",
        "macs_dense": 1000,
        "macs_pruned": 500,
        "bytes_dense": 400,
        "bytes_pruned": 250,
        "ms_dense": 0.9,
        "ms_pruned": 0.6,
        "ratio": 1.5,
        "low": 1.4,
        "high": 1.6,
    }
    return LayerRow(name, **{**usual, **changed})  # type: ignore[arg-type]  # a test's own words


def profile(*rows: LayerRow) -> LayerProfile:
    """A profile of these rows."""
    return LayerProfile("onnxruntime:cpu", 1, rows, ROOFLINE, HERE, 2.0, 1.5, 1.33, 1.3, 1.4, ("a note",), "secateur")
