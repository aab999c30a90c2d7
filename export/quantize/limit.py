"""How much a graph in 8 bits may lose of what its model is for, who measures that, and what came of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Z95 = 1.96
"""Standard errors on either side of a normal distribution's 95 % interval."""


@dataclass(frozen=True)
class Drop:
    """By how much a graph's metric is worse than the fp32 graph's on the same `images`, in the metric's unit.

    `error` is the standard error of that paired difference.
    """

    value: float
    error: float
    images: int

    def needed(self, limit: float) -> int:
        """How many images would tell a drop of the limit from none: those whose 95 % interval is no wider than it."""
        return math.ceil(self.images * (Z95 * self.error / limit) ** 2) if limit > 0 else 0


class Judge(Protocol):
    """What measures graphs against the fp32 graph; `identity` is the hash of all that decides the values."""

    @property
    def identity(self) -> str: ...

    @property
    def metric(self) -> str:
        """What the metric is called."""

    @property
    def unit(self) -> str:
        """The metric's unit: "%", whose differences are points, or empty where it is that of the labels."""

    def divergence(self, path: Path) -> float:
        """How far the answers of the graph at `path` are from the fp32 graph's, on a few images; 0 for the same."""

    def drop(self, path: Path) -> Drop:
        """What the graph at `path` loses of the metric."""


@dataclass(frozen=True)
class Limit:
    """At most `max_drop` of the judge's metric may be lost. What is measured is kept in the file `trials`, if any.

    >>> images, labels = loader[0]
    >>> batches = [(images[:5], labels[:5]), (images[5:], labels[5:])]
    >>> fp32 = sc.export_onnx(small, "limited.onnx").path
    >>> limit = sc.Limit(100.0, sc.GraphJudge(small, fp32, batches, batches[:1]))
    >>> _, how = sc.quantize_onnx(fp32, "limited.int8.onnx", loader, limit=limit)
    >>> how.limited.drop.value <= 100
    True
    """

    max_drop: float
    judge: Judge
    trials: Path | None = None


@dataclass(frozen=True)
class LayerChoice:
    """What became of one product: its `precision`, and why.

    `macs` are those of one image, `bit_ops` (BOPs) these times the bits of both operands. `divergence` is what the
    answers lose where this product alone is in 8 bits; None for a product that cannot be.
    """

    node: str
    module: str
    operation: str
    macs: float
    precision: str
    bit_ops: float
    divergence: float | None
    reason: str


@dataclass(frozen=True)
class Trial:
    """What a graph lost that had `wide` products returned to the wider type, the first ones of the ranking."""

    wide: int
    drop: Drop


@dataclass(frozen=True)
class Limited:
    """What a limit led to: the drop of the chosen graph, all graphs that were tried, and every product.

    `bit_ops` is the chosen graph's share of the bit-operations of the fp32 graph, `least_bit_ops` that of the graph
    with all that can be in 8 bits. `said` is the outcome in a sentence.
    """

    max_drop: float
    metric: str
    unit: str
    drop: Drop
    trials: tuple[Trial, ...]
    layers: tuple[LayerChoice, ...]
    bit_ops: float
    least_bit_ops: float
    said: str
