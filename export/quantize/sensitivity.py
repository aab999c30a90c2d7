"""The sensitivity pass of mixed precision: what the answers lose where one product alone is in 8 bits."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from secateur.export.quantize.limit import Judge
from secateur.export.quantize.trials import Trials

Write = Callable[[Collection[str], Path], object]
"""Writes the graph whose products of these names are wide to the path."""


@dataclass(frozen=True)
class Sensitivity:
    """What one product costs: the `divergence` of the answers where it alone is in 8 bits, None where it cannot be.

    `node` is its name in the graph, `module` the module that it comes from; `macs` are those of one image.
    """

    node: str
    module: str
    macs: float
    divergence: float | None


def sensitivities(names: Sequence[str], write: Write, judge: Judge, trials: Trials) -> dict[str, float]:
    """What the answers lose where each of the products `names` alone is in 8 bits, as the judge's divergence.

    That is its quantisation error, weighted by what the answers make of it (the sensitivity of HAWQ, 1905.03696,
    measured instead of expanded, as ModelOpt's `auto_quantize` does by `kl_div`).
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "candidate.onnx"

        def alone(name: str) -> float:
            write([other for other in names if other != name], path)
            return judge.divergence(path)

        return {name: trials.alone(name, lambda name=name: alone(name)) for name in names}  # type: ignore[misc]
