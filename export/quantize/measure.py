"""What calibration measures in a graph, and a file of it that fits no other graph and no other images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from secateur.core.errors import ExportError
from secateur.core.files import write_tensors
from secateur.export.graph_types import first_line
from secateur.export.quantize.balance import balance, balanced_outputs
from secateur.export.quantize.correct import mean_input
from secateur.export.quantize.observe import CalibrationFeeds, observed
from secateur.export.quantize.placement import Placement
from secateur.export.quantize.ranges import Histogram
from secateur.export.quantize.recentre import centred_outputs, recentre

if TYPE_CHECKING:
    import onnx_ir as ir

Arrays = Mapping[str, NDArray[Any]]
SCHEMA = "secateur.calibration/2"
WORDS = ("middle", "largest", "mean", "counts", "limits")
"""What is kept of each tensor."""
OTHERS = {"graph": "another graph", "images": "other images", "options": "other options"}
"""What a cache can be of that does not fit, by the name of the hash that differs."""


class OtherCalibrationError(ExportError):
    """A calibration cache is of another graph, other images or other options."""


@dataclass(frozen=True)
class Measurements:
    """What was seen on calibration images: the `middles` `[channels]` of what is to be re-centred, the `largest`
    magnitudes `[channels]` of what is to be balanced then, and once it is, the histograms of all activations and the
    `means` of those that meet a weight.
    """

    middles: Arrays
    largest: Arrays
    histograms: Mapping[str, Histogram]
    means: Arrays

    def save(self, path: Path, origin: Mapping[str, str]) -> None:
        """Writes them with the hashes of what they were measured from: `graph`, `images` and `options`."""
        tensors = {f"middle {name}": array for name, array in self.middles.items()}
        tensors |= {f"largest {name}": array for name, array in self.largest.items()}
        tensors |= {f"mean {name}": array for name, array in self.means.items()}
        for name, histogram in self.histograms.items():
            tensors[f"counts {name}"] = histogram.counts
            tensors[f"limits {name}"] = np.array([histogram.limit, histogram.largest, histogram.lowest])
        written = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in tensors.items()}
        write_tensors(path, written, {"schema": SCHEMA, **origin})

    @staticmethod
    def load(path: Path, origin: Mapping[str, str]) -> Measurements:
        """What the file says; raises `ExportError` for one that is damaged, and `OtherCalibrationError` for one of
        another graph, other images or other options.
        """
        from safetensors import safe_open

        remedy = "remove it, or name another file"
        try:
            with safe_open(str(path), "numpy") as file:
                notes = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dictionary
        except Exception as error:  # safetensors raises its own type and several others
            raise ExportError(f"{path} is no calibration cache ({first_line(error)}): {remedy}") from error
        if notes.get("schema") != SCHEMA:
            raise ExportError(f"{path} has the schema {notes.get('schema')!r}, not {SCHEMA!r}: {remedy}")
        others = [OTHERS[word] for word, value in origin.items() if notes.get(word) != value]
        if others:
            raise OtherCalibrationError(f"the calibration cache {path} is of {' and '.join(others)}: {remedy}")
        parts: dict[str, dict[str, NDArray[Any]]] = {word: {} for word in WORDS}
        for key, array in arrays.items():
            word, _, name = key.partition(" ")
            parts[word][name] = array
        histograms = {
            name: Histogram(counts, *map(float, parts["limits"][name])) for name, counts in parts["counts"].items()
        }
        return Measurements(parts["middle"], parts["largest"], histograms, parts["mean"])

    def prepare(self, program: ir.Model, placement: Placement, strength: float) -> None:
        """Re-centres and balances the program that was measured, or one like it."""
        recentre(program, placement, self.middles)
        balance(program, placement, self.largest, strength)


def measure(
    program: ir.Model, placement: Placement, feeds: CalibrationFeeds, strength: float, centred: bool = False
) -> Measurements:
    """Measures the program, which it re-centres where that is asked and balances unless `strength` is 0."""
    middles, largest = _channels(program, placement, feeds, strength, centred)
    found = Measurements(middles, largest, {}, {})
    found.prepare(program, placement, strength)
    histograms = {name: Histogram() for name in placement.activations}
    types = {str(node.name): node.op_type for node in program.graph}
    weighted = {product.activations[0]: types[product.node] for product in placement.products if product.weight}
    sums: dict[str, NDArray[np.float64]] = {}
    rows = 0
    for arrays in observed(program, placement.activations, feeds.fitting()):
        count = len(next(iter(arrays.values())))
        rows += count
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise ExportError(f"{name} is not finite on the calibration images: correct the model or the images")
            histograms[name].add(array)
            if name in weighted:
                mean = mean_input(weighted[name], array) * count
                sums[name] = sums[name] + mean if name in sums else mean
    return replace(found, histograms=histograms, means={name: total / rows for name, total in sums.items()})


def _channels(
    program: ir.Model, placement: Placement, feeds: CalibrationFeeds, strength: float, centred: bool
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """The middles of the channels to be re-centred, and the largest magnitudes of those to be balanced then."""
    moved = centred_outputs(program, placement) if centred else ()
    outputs = balanced_outputs(program, placement) if strength else moved
    ends: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}
    for arrays in observed(program, outputs, feeds.fitting()) if outputs else ():
        for name, array in arrays.items():
            rows = array.reshape(-1, array.shape[-1])
            low, high = ends.get(name, (rows[0], rows[0]))
            ends[name] = np.minimum(low, rows.min(0)), np.maximum(high, rows.max(0))
    middles = {name: (ends[name][0] + ends[name][1]) / 2 for name in moved}
    largest = {
        name: (high - low) / 2 if name in middles else np.maximum(-low, high) for name, (low, high) in ends.items()
    }
    return middles, largest if strength else {}
