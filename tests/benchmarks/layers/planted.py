"""Planted layer profiles: rows of which everything is known."""

from __future__ import annotations

import numpy as np

from secateur.benchmarks.layers.layers_file import LayerProfile, LayerRow, Roofline
from secateur.benchmarks.layers.operations import LayerTimes, Operation
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


def operation(kind: str, ms: float, **changed: object) -> tuple[Operation, float]:
    """An operation of the layer `fc` with its median."""
    usual: dict[str, object] = {"layer": "fc", "does": (kind,), "provider": "CPUExecutionProvider"}
    return Operation(kind, kind, **{**usual, **changed}), ms  # type: ignore[arg-type]  # a test's own words


def times(*operations: tuple[Operation, float], samples: int = 20) -> LayerTimes:
    """Operations with times that scatter by a percent around their medians, evenly to both sides."""
    scatter = 1 + 0.01 * np.tile([-1.0, 1.0], samples // 2)[:, None]
    return LayerTimes(tuple(one for one, _ in operations), scatter * np.array([[ms for _, ms in operations]]))
