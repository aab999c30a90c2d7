"""Where two graphs of one model part: the first product that gives something else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from secateur.export.graph_types import graph_tensors, read_graph
from secateur.export.parity import cosine
from secateur.export.quantize.graph_edit import bias_of, read_program
from secateur.export.quantize.observe import CalibrationFeeds, observed
from secateur.export.quantize.placement import PRODUCTS

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class Divergence:
    """What a product gives with its bias, by name, the `cosine` of it in both graphs, and that of the one before."""

    tensor: str
    cosine: float
    before: float


def first_divergence(source: str | Path, path: str | Path, images: Iterable[Any], least: float) -> Divergence:
    """The first product of the graph at `path` whose output has a cosine below `least` with that of the source's.

    Where none has, the one before which most is lost. The graphs share the names of their tensors; both see the first
    batch of the images, which are as for `quantize_onnx`.
    """
    both = [read_program(Path(one)) for one in (source, path)]
    names = [_given(node) for node in both[0].graph if node.op_type in PRODUCTS]
    feeds = [next(CalibrationFeeds(images, graph_tensors(read_graph(Path(source)))[0]).judging())]
    expected, found = (next(observed(one, names, feeds, as_written=True)) for one in both)
    measured = [cosine(expected[name], found[name]) for name in names]
    cosines = [value if np.isfinite(value) else 0.0 for value in measured]  # what overflows points nowhere
    before = [1.0, *cosines[:-1]]
    below = [index for index, value in enumerate(cosines) if value < least]
    index = below[0] if below else int(np.argmax(np.subtract(before, cosines)))
    return Divergence(names[index], cosines[index], before[index])


def _given(node: ir.Node) -> str:
    """What a product gives with its bias: what is taken off its input before is in that."""
    holder = bias_of(node)
    return str((node if holder is None else holder[0]).outputs[0].name)
