"""Planted measurements: samples whose true speedup is known, with everything that disturbs real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from secateur.benchmarks.bootstrap import ratio_interval
from secateur.benchmarks.environment import Environment
from secateur.benchmarks.gating.matched_pairs import Pairs
from secateur.benchmarks.keys import TOP1
from secateur.benchmarks.results_file import BenchResult, Compared, Latency, Side

HERE = Environment("A CPU", 2, 2, None, "", "Linux 6", "x86_64", "3.11.7", {"torch": "2.11", "onnxruntime": "1.22"})


def planted(
    speedup: float, blocks: int, rng: np.random.Generator, drift: float = 0.1, noise: float = 0.05, slow: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Milliseconds of both sides, `[2 * blocks]` each, as measured A B B A.

    The machine drifts by `drift` from begin to end and wanders by `slow` (an autoregressive process that both sides
    share); each run has lognormal `noise`, and one in thirty takes up to five times as long.
    """
    runs = 4 * blocks
    wander = np.empty(runs)
    level = rng.normal()
    for place in range(runs):
        level = 0.95 * level + np.sqrt(1 - 0.95**2) * rng.normal()
        wander[place] = level
    times = 10 * (1 + drift * np.linspace(0, 1, runs)) * np.exp(slow * wander + noise * rng.normal(size=runs))
    times *= np.where(rng.random(runs) < 1 / 30, rng.uniform(1, 5, runs), 1)
    table = times.reshape(blocks, 4)
    return table[:, [0, 3]].ravel(), table[:, [1, 2]].ravel() / speedup


def result(
    speedup: float = 1.5,
    blocks: int = 60,
    seed: int = 0,
    targets: Mapping[str, int] | None = None,
    environment: Environment = HERE,
    top1: tuple[float | None, float | None] = (82.0, 81.0),
    skipped: Mapping[str, str] | None = None,
) -> BenchResult:
    """A bench.json's content with a planted speedup on each of `targets` (key: batch).

    On the 1000 images, 5 are right by the pruned side alone.
    """
    rng = np.random.default_rng(seed)
    found = {key: planted(speedup, blocks, rng) for key in targets or {"onnxruntime:cpu": 1}}
    batches = targets or {"onnxruntime:cpu": 1}
    sides = [{key: Latency.of(pair[side].tolist(), batches[key]) for key, pair in found.items()} for side in (0, 1)]
    return BenchResult(
        environment=environment,
        dense=Side("dense", 1000, 500, 2000, top1[0], {}, sides[0]),
        pruned=Side("pruned", 480, 260, 1100, top1[1], {}, sides[1]),
        speedup={key: ratio_interval(*pair) for key, pair in found.items()},
        skipped=skipped or {},
        evaluation_images=1000,
        metric=None if None in top1 else top1_of(*top1),
    )


def top1_of(dense: float, pruned: float, won: int = 5, images: int = 1000) -> Compared:
    """Top-1 of both sides, with the images that only one of them has right."""
    right = round(dense * images / 100)
    return Compared(TOP1, dense, pruned, pairs=Pairs(images, right, right - round(pruned * images / 100) + won, won))


def over_processes(ratios: Sequence[float], target: str = "onnxruntime:cpu") -> BenchResult:
    """A result on one target whose processes have these ratios, ten samples each."""
    found, parts = result(targets={target: 1}), (10,) * len(ratios)
    dense = Latency.of([2.0 * ratio for ratio in ratios for _ in range(10)], 1, processes=parts)
    pruned = Latency.of([2.0] * 10 * len(ratios), 1, processes=parts)
    sides = [replace(side, latency_ms={target: one}) for side, one in ((found.dense, dense), (found.pruned, pruned))]
    return replace(found, dense=sides[0], pruned=sides[1])
